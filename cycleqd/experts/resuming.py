"""Where a training stands, kept so that a killed one goes on from there, bit for bit."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

SECONDS: Final = 120.0
"""Between two times that the state is kept, at least."""
SHARE: Final = 20.0
"""Keeping the state takes at most one part in so many of a training's time."""

log = logging.getLogger(__name__)


class Place(Protocol):
    """Where the state of one training is kept."""

    def read(self) -> Path | None:
        """The file that was kept last; None where there is none that can be read."""
        ...

    def write(self) -> AbstractContextManager[Path]:
        """A path to write the state to; it is kept when the block ends well."""
        ...


class Done(NamedTuple):
    """What a training has done so far.

    Attributes:
        step: Optimizer steps.
        tokens: Tokens shown.
        positions: Positions in all forward passes.
        seconds: Wall-clock seconds, all starts together.
        losses: Loss of each step.
    """

    step: int = 0
    tokens: int = 0
    positions: int = 0
    seconds: float = 0.0
    losses: tuple[float, ...] = ()


class Best:
    """Keeps the trained parameters of the lowest validation loss.

    Args:
        parameters: The parameters.
    """

    def __init__(self, parameters: Sequence[torch.nn.Parameter]) -> None:
        self._parameters = parameters
        self.values: list[torch.Tensor] | None = None
        self.loss: float | None = None
        self.seen: list[tuple[int, float]] = []

    def offer(self, step: int, loss: float) -> None:
        """Looks at a validation loss."""
        self.seen.append((step, float(f"{loss:.6g}")))
        if self.loss is None or loss < self.loss:
            self.loss = loss
            self.values = [parameter.detach().clone() for parameter in self._parameters]

    @torch.no_grad()
    def restore(self) -> None:
        """Puts the best parameters back."""
        for parameter, value in zip(self._parameters, self.values or (), strict=False):
            parameter.copy_(value)


class Kept:
    """The state of one training: parameters, AdamW's moments, the rate's place, losses, the best so far.

    Args:
        place: Where it is kept; None keeps nothing.
        settings: All that decides what is learned: a state of other settings is not taken.
        trained: The trained parameters.
        optimizer: Their AdamW.
        rates: The schedule of its rate.
        best: The best parameters so far.
    """

    def __init__(
        self,
        place: Place | None,
        settings: Mapping[str, Any],
        trained: Sequence[torch.nn.Parameter],
        optimizer: torch.optim.Optimizer,
        rates: torch.optim.lr_scheduler.LRScheduler,
        best: Best,
    ) -> None:
        self._place = place
        told = {**settings, "torch": torch.__version__, "shapes": [list(parameter.shape) for parameter in trained]}
        self._key = hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()
        self._trained = trained
        self._optimizer = optimizer
        self._rates = rates
        self._best = best
        self._due = time.monotonic() + SECONDS

    def restore(self) -> Done:
        """Takes up the state that was kept, where there is one of the same training."""
        file = self._place.read() if self._place else None
        if file is None:
            return Done()
        try:
            with safe_open(file, "pt") as state:
                facts = json.loads(state.metadata()["state"])
                if facts["key"] != self._key:
                    log.info("the state of an earlier training is of other settings, and not used")
                    return Done()
                self._take(state, facts)
        except (OSError, SafetensorError, ValueError, LookupError, TypeError) as error:
            raise ValueError(f"the kept state of a training cannot be read ({error}): remove {file}") from error
        done = Done(**facts["done"] | {"losses": tuple(facts["done"]["losses"])})
        log.info("training goes on after step %d", done.step)
        return done

    def offer(self, done: Done) -> None:
        """Keeps the state, if that was not done for a while."""
        if time.monotonic() >= self._due:
            self.save(done)

    def save(self, done: Done) -> None:
        """Keeps the state."""
        if self._place is None or done.step == 0:
            return
        began = time.monotonic()
        moments = self._optimizer.state_dict()["state"]
        tensors = {f"parameter.{n}": parameter.detach() for n, parameter in enumerate(self._trained)}
        tensors |= {f"moment.{n}.{name}": value for n, held in moments.items() for name, value in held.items()}
        tensors |= {f"best.{n}": value for n, value in enumerate(self._best.values or ())}
        facts = {
            "key": self._key,
            "done": done._asdict(),
            "rates": self._rates.state_dict(),
            "best": {"loss": self._best.loss, "seen": self._best.seen},
        }
        with self._place.write() as path:
            save_file(
                {name: tensor.contiguous() for name, tensor in tensors.items()},
                path,
                metadata={"state": json.dumps(facts, default=lambda _: None)},
            )
        now = time.monotonic()
        self._due = now + max(SECONDS, SHARE * (now - began))

    @torch.no_grad()
    def _take(self, state: Any, facts: Mapping[str, Any]) -> None:
        names = set(state.keys())
        moments: dict[int, dict[str, torch.Tensor]] = {}
        for name in names:
            kind, number, *rest = name.split(".")
            if kind == "moment":
                moments.setdefault(int(number), {})[rest[0]] = state.get_tensor(name)
        for n, parameter in enumerate(self._trained):
            parameter.copy_(state.get_tensor(f"parameter.{n}"))
        rates = {name: value for name, value in facts["rates"].items() if name != "lr_lambdas"}
        self._rates.load_state_dict({**self._rates.state_dict(), **rates})
        self._optimizer.load_state_dict({**self._optimizer.state_dict(), "state": moments})
        for group, rate in zip(self._optimizer.param_groups, self._rates.get_last_lr(), strict=True):
            group["lr"] = rate
        best = facts["best"]
        self._best.loss, self._best.seen = best["loss"], [(step, loss) for step, loss in best["seen"]]
        if "best.0" in names:
            device = self._trained[0].device
            self._best.values = [state.get_tensor(f"best.{n}").to(device) for n in range(len(self._trained))]
