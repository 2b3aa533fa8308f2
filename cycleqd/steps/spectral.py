"""Fully fine-tuned experts on their own singular vectors, so that their children are small and exact."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final

from cycleqd.models.hardware import torch_device
from cycleqd.run.genomes import spectral_bases
from cycleqd.run.names import SPECTRAL_KEY, spectral_key
from cycleqd.steps.workspace import Workspace
from cycleqd.task_vector import SpectralTaskVector, TaskVector, write_decomposition
from cycleqd.telemetry.events import event

log = logging.getLogger(__name__)

_TOLD: Final = 10
"""Parts in which the log tells of the parameters."""


def spectral_vectors(ws: Workspace, experts: Mapping[str, TaskVector]) -> dict[str, TaskVector]:
    """The same experts as spectral task vectors; every parameter is decomposed once, on a GPU where there is one.

    A start that was killed goes on with the next parameter.

    Args:
        ws: The run.
        experts: The experts' task vectors by skill, of the same parameters.

    Raises:
        ValueError: A parameter is a stack of matrices.
    """
    parameters = next(iter(experts.values())).names()
    for number, parameter in enumerate(parameters, start=1):
        key = spectral_key(parameter)
        if not ws.store.exists(key):
            with ws.store.writing(key) as path:
                write_decomposition(path, [vector.delta(parameter) for vector in experts.values()], torch_device())
        if number % -(-len(parameters) // _TOLD) == 0:
            log.info("the experts' changes of %d of %d parameters are decomposed", number, len(parameters))
    ws.store.write_json(SPECTRAL_KEY, {"experts": list(experts), "parameters": list(parameters)}, replace=True)
    event("experts_decomposed", run=ws.config.run_id, experts=len(experts), parameters=len(parameters))
    bases = spectral_bases(ws.store)
    return {skill: SpectralTaskVector.of_expert(bases, skill) for skill in experts}
