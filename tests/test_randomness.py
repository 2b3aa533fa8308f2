import pytest

from cycleqd.randomness import parameter_rng, rng

STREAM = [797, 332, 444, 231]
PARAMETER = [925, 117, 910, 486]


def test_streams_are_the_same_in_every_process() -> None:
    # Drawn once with numpy 2; a change here changes every run's draws.
    assert rng(0, 0, "sampling").integers(1000, size=4).tolist() == STREAM
    assert parameter_rng(1, "a.weight").integers(1000, size=4).tolist() == PARAMETER


def test_seed_generation_and_purpose_each_make_another_stream() -> None:
    draws = {
        float(rng(*key).random()) for key in ((0, 0, "a"), (1, 0, "a"), (0, 1, "a"), (0, 0, "b"), (2**63 - 1, 0, "a"))
    }
    assert len(draws) == 5


def test_negative_seeds_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 0"):
        rng(-1, 0, "sampling")
    with pytest.raises(ValueError, match="at least 0"):
        rng(0, -1, "sampling")
