"""What RegMean's measuring asks of a machine."""

from types import SimpleNamespace

import psutil
import pytest
import torch

from cycleqd.experts.sources import Update
from cycleqd.steps.regmean import _refuse_too_large
from cycleqd.task_vector import LoraFactors

WIDTHS = {"q_proj": 6, "k_proj": 6, "v_proj": 6, "o_proj": 6, "gate_proj": 6, "up_proj": 6, "down_proj": 16}
"""Inputs of a block's matrices. q, k and v read one tensor, gate and up another: four moments are kept."""
KEPT = 4 * (3 * 6**2 + 16**2)


def test_moments_that_do_not_fit_into_memory_are_refused_before_they_are_measured(monkeypatch):
    factors = {name: LoraFactors(torch.zeros(1, width), torch.zeros(3, 1), 1.0) for name, width in WIDTHS.items()}
    updates = {skill: Update(factors) for skill in ("coding", "os")}

    def free(size):
        monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=size))

    free(2 * KEPT - 1)
    with pytest.raises(ValueError, match="memory for the moments of 7 matrices"):
        _refuse_too_large(updates, None)
    free(4 * KEPT)
    _refuse_too_large(updates, None)
    with pytest.raises(ValueError, match="memory_limit is 1e-06 GiB"):
        _refuse_too_large(updates, 1e-6)
