"""How a global batch is dealt to processes, and told to them."""

from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cycleqd.experts import TrainingSettings
from cycleqd.experts.conversations import IGNORED, Encoded
from cycleqd.experts.lessons import targets
from cycleqd.experts.trainers.assignment import Assignment, Pieces, cost_of, passes_of

PADDING = 0


def rows_of(lengths):
    """Rows of which every token tells whose it is."""
    return [Encoded([1 + row] * length, [IGNORED] + [1 + row] * (length - 1)) for row, length in enumerate(lengths)]


def assigned(processes, order, rows, **settings):
    chosen = TrainingSettings(max_length=40, micro_batch=3, **settings)
    passes = passes_of(chosen, PADDING, processes)
    most, tokens, positions = cost_of(order, [len(row.input_ids) for row in rows], passes)
    told = Assignment(
        base="base", settings=chosen, padding=PADDING, epoch_steps=2, processes=processes,
        passes=-(-most // processes), gradient_checkpointing=False, save_steps=None,
    )  # fmt: skip
    return told, tokens, positions


@given(st.lists(st.integers(2, 40), min_size=1, max_size=40), st.integers(1, 5), st.integers(1, 9), st.booleans())
def test_every_conversation_of_a_step_is_shown_once_whatever_the_number_of_processes(
    lengths, processes, batch, packing
):
    rows = rows_of(lengths)
    order = [list(range(first, min(first + batch, len(rows)))) for first in range(0, len(rows), batch)]
    told, tokens, positions = assigned(processes, order, rows, packing=packing)
    pieces = Pieces(told, rows, [], order)
    items = [pieces[number] for number in range(len(pieces))]
    each = told.passes * processes
    assert len(items) == len(order) * each
    for number, step in enumerate(order):
        shown = [item for item in items[number * each : (number + 1) * each] if not item["empty"]]
        seen = Counter(token for item in shown for token in item["input_ids"].flatten().tolist() if token != PADDING)
        assert seen == {1 + row: lengths[row] for row in step}
        assert {item["wanted"] for item in shown} == {sum(targets(rows[row]) for row in step)}
        learned = sum(int((item["taught"][:, 1:] != IGNORED).sum()) for item in shown)
        assert learned == shown[0]["wanted"]
        assert tokens[number] == sum(lengths[row] for row in step)
        assert positions[number] == sum(item["input_ids"].numel() for item in shown)
    for process in range(processes):  # the last pass of a process is the one that others wait for
        for number in range(len(order)):
            turns = [items[number * each + turn * processes + process]["empty"] for turn in range(told.passes)]
            assert turns == sorted(turns, reverse=True)


def test_an_empty_pass_has_a_loss_that_infinity_makes_nothing_of():
    told, *_ = assigned(2, [[0]], rows_of([5]))
    empty = Pieces(told, rows_of([5]), [], [[0]])[1]
    assert empty["empty"]
    logits = torch.randn(1, 3, requires_grad=True)
    loss = torch.nn.functional.cross_entropy(logits, torch.tensor([1]), reduction="sum") / empty["wanted"]
    loss.backward()
    assert loss.item() == 0
    assert logits.grad.abs().max() == 0


@pytest.mark.parametrize("packing", [False, True])
def test_what_is_written_is_read(tmp_path, packing):
    rows, held_out, order = rows_of([3, 9, 4]), rows_of([5]), [[0, 2], [1]]
    told, *_ = assigned(2, order, rows, packing=packing, betas=(0.8, 0.9))
    told.write(tmp_path, rows, held_out, order)
    read = Assignment.read(tmp_path)
    assert read == told
    pieces = Pieces.read(tmp_path, read)
    assert (pieces.rows, pieces.held_out, pieces.order) == (rows, held_out, order)
