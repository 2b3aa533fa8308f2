import numpy as np
import pytest
import torch

from cycleqd.models.causal_lm import WeightsNotLoaded
from cycleqd.models.causal_lm.canary import Canary

BASE = np.array([-1.0, -2.0], dtype=np.float32)
CHILD = np.array([-1.5, -2.5], dtype=np.float32)


class Merge:
    """What the canary wants to know of merged weights."""

    def __init__(self, *, changed, sketch):
        self.changed = changed
        self.sketch = torch.tensor(sketch)


UNCHANGED = Merge(changed=False, sketch=[0.0, 0.0])
FIRST = Merge(changed=True, sketch=[1.0, 0.0])
SECOND = Merge(changed=True, sketch=[2.0, 0.0])


def test_changed_weights_with_other_values_pass():
    Canary(BASE).check("child", CHILD, FIRST)


def test_changed_weights_with_the_bases_values_are_refused():
    with pytest.raises(WeightsNotLoaded, match="base model's"):
        Canary(BASE).check("child", BASE, FIRST)


def test_base_with_other_values_is_refused():
    with pytest.raises(WeightsNotLoaded, match="not its"):
        Canary(BASE).check("base", CHILD, UNCHANGED)


def test_other_weights_with_the_previous_values_are_refused():
    canary = Canary(BASE)
    canary.check("child", CHILD, FIRST)
    with pytest.raises(WeightsNotLoaded, match="previously"):
        canary.check("sibling", CHILD, SECOND)


def test_nearly_equal_weights_may_share_their_values():
    canary = Canary(BASE)
    sketch = torch.arange(1000.0)
    canary.check("child", CHILD, Merge(changed=True, sketch=sketch.tolist()))
    sketch[0] = 0.5
    canary.check("twin", CHILD, Merge(changed=True, sketch=sketch.tolist()))


def test_weights_must_reproduce_its_values_to_the_last_bit():
    canary = Canary(BASE)
    canary.check("child", CHILD, FIRST)
    canary.check("base", BASE, UNCHANGED)
    canary.check("child", CHILD.copy(), FIRST)
    canary.check("base", BASE, UNCHANGED)
    with pytest.raises(WeightsNotLoaded, match="earlier load"):
        canary.check("child", np.nextafter(CHILD, np.float32(0)), FIRST)


def test_values_that_are_no_numbers_equal_themselves():
    canary = Canary(BASE)
    broken = np.array([np.nan, np.nan], dtype=np.float32)
    canary.check("child", broken, FIRST)
    canary.check("base", BASE, UNCHANGED)
    canary.check("child", broken, FIRST)
