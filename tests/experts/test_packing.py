from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM

from cycleqd.experts.conversations import IGNORED, Encoded, collate
from cycleqd.experts.learner import summed_loss
from cycleqd.experts.packing import collate_packed, pack

CAPACITY = 40
LENGTHS = st.lists(st.integers(1, CAPACITY), min_size=1, max_size=30)


def rows_of(lengths, *, trained_from=1):
    return [
        Encoded(
            ids := [3 + (7 * row + 3 * position) % 90 for position in range(length)],
            [IGNORED if position < trained_from else token for position, token in enumerate(ids)],
        )
        for row, length in enumerate(lengths)
    ]


@given(LENGTHS)
def test_every_conversation_is_packed_once_and_no_row_overflows(lengths):
    packs = pack(lengths, CAPACITY)
    assert sorted(index for one in packs for index in one) == list(range(len(lengths)))
    assert all(sum(lengths[index] for index in one) <= CAPACITY for one in packs)
    assert (
        9 * len(packs) <= 11 * -(-sum(lengths) // CAPACITY) + 9 * sum(2 * length > CAPACITY for length in lengths) + 9
    )


@given(LENGTHS, st.integers(0, 2))
def test_no_token_is_lost_and_labels_stay_beside_their_tokens(lengths, trained_from):
    rows = rows_of(lengths, trained_from=trained_from)
    packs = [[rows[index] for index in one] for one in pack(lengths, CAPACITY)]
    batch = collate_packed(packs, 2)
    assert batch.tokens == sum(lengths)
    assert batch.input_ids.shape == batch.labels.shape == batch.position_ids.shape
    for number, one in enumerate(packs):
        start = 0
        for row in one:
            end = start + len(row.input_ids)
            assert batch.input_ids[number, start:end].tolist() == row.input_ids
            assert batch.labels[number, start:end].tolist() == [IGNORED, *row.labels[1:]]
            assert batch.position_ids[number, start:end].tolist() == list(range(end - start))
            start = end
        assert set(batch.input_ids[number, start:].tolist()) <= {2}
        assert set(batch.labels[number, start:].tolist()) <= {IGNORED}


def test_conversation_longer_than_a_row_is_refused():
    with pytest.raises(ValueError, match="41 tokens does not fit a row of 40"):
        pack([1, 41], CAPACITY)


@pytest.mark.parametrize("model", ["tiny_tied", "tiny_biased"])
def test_packed_conversations_never_see_each_other(model, request):
    loaded = AutoModelForCausalLM.from_pretrained(request.getfixturevalue(model), dtype=torch.float32).eval()
    loaded.config.use_cache = False  # as in training; with a cache transformers looks for no packed rows
    loss_of = partial(summed_loss, loaded, dtype="float32", device=torch.device("cpu"))
    rows = rows_of([12, 5, 30, 9, 1, 22, 40, 17])
    packs = [[rows[index] for index in one] for one in pack([len(row.input_ids) for row in rows], CAPACITY)]
    assert any(len(one) > 2 for one in packs)
    with torch.no_grad():
        alone = sum(loss_of(collate([row], 2)).item() for row in rows if len(row.input_ids) > 1)
        padded = loss_of(collate(rows, 2)).item()
        packed = loss_of(collate_packed(packs, 2)).item()
    assert packed == pytest.approx(alone, rel=1e-5)
    assert packed == pytest.approx(padded, rel=1e-5)
