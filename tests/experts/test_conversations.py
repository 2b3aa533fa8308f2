import logging

import pytest
import torch
from transformers import AutoTokenizer

from cycleqd.experts.conversations import IGNORED, Encoded, build_dataset, collate, encode, schedule
from cycleqd.inference.rendering import render
from tests.tiny_models import tokenizer

END = (2,)
TURNS = [
    {"role": "system", "content": "You act."},
    {"role": "user", "content": "Count the files."},
    {"role": "assistant", "content": "Act: bash\nls | wc -l"},
    {"role": "user", "content": "7"},
    {"role": "assistant", "content": "Act: answer(7)"},
]


def trained_text(tokens, encoded):
    """The trained tokens, with a bar where untrained ones interrupt them."""
    pieces, previous = [], False
    for token, label in zip(encoded.input_ids, encoded.labels, strict=True):
        if label != IGNORED:
            assert label == token
            pieces += [*([] if previous else ["|"]), tokens.decode([token])]
        previous = label != IGNORED
    return "".join(pieces)


def test_only_the_assistants_turns_and_their_ends_are_trained():
    encoded = encode(tokenizer(), TURNS, END)
    assert trained_text(tokenizer(), encoded) == "|Act: bash\nls | wc -l<|im_end|>|Act: answer(7)<|im_end|>"


def test_turn_that_asks_not_to_be_trained_is_shown_only():
    flagged = [*TURNS[:2], {**TURNS[2], "trained": False}, *TURNS[3:]]
    encoded = encode(tokenizer(), flagged, END)
    assert trained_text(tokenizer(), encoded) == "|Act: answer(7)<|im_end|>"
    assert encoded.input_ids == encode(tokenizer(), TURNS, END).input_ids


def test_conversation_whose_turns_are_all_flagged_is_refused():
    with pytest.raises(ValueError, match="no assistant turn"):
        encode(tokenizer(), [TURNS[1], {**TURNS[2], "trained": False}], END)


def test_real_tokenizer_trains_the_same_text(smollm2):
    tokens = AutoTokenizer.from_pretrained(smollm2)
    encoded = encode(tokens, TURNS, END)
    assert trained_text(tokens, encoded) == "|Act: bash\nls | wc -l<|im_end|>|Act: answer(7)<|im_end|>"


def test_training_shows_the_conversation_that_engines_render(smollm2):
    for tokens in (tokenizer(), AutoTokenizer.from_pretrained(smollm2)):
        encoded = encode(tokens, TURNS, END)
        assert encoded.input_ids == render(tokens, TURNS, reply_follows=False)
        first = encoded.labels.index(next(label for label in encoded.labels if label != IGNORED))
        assert encoded.input_ids[:first] == render(tokens, TURNS[:2], reply_follows=True)


def test_observation_after_the_last_reply_is_left_out():
    assert encode(tokenizer(), [*TURNS, {"role": "user", "content": "done"}], END) == encode(tokenizer(), TURNS, END)


def test_template_without_end_token_trains_the_whole_reply():
    tokens = tokenizer()
    tokens.chat_template = (
        "{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }}\n{% endfor %}"
        "{% if add_generation_prompt %}[assistant] {% endif %}"
    )
    assert trained_text(tokens, encode(tokens, TURNS[:3], END)) == "|Act: bash\nls | wc -l\n"


def test_template_that_rewrites_earlier_turns_is_refused():
    tokens = tokenizer()
    tokens.chat_template = (
        "{{ messages | length }} messages: {% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}"
        "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    with pytest.raises(ValueError, match="renders earlier turns differently"):
        encode(tokens, TURNS, END)


def test_conversation_without_assistant_is_refused():
    with pytest.raises(ValueError, match="no assistant turn"):
        encode(tokenizer(), TURNS[:2], END)


def test_too_long_conversations_are_left_out_with_a_warning(caplog):
    long = [{"role": "user", "content": "x" * 500}, TURNS[2]]
    with caplog.at_level(logging.WARNING):
        data = build_dataset(tokenizer(), [TURNS, long], END, 300)
    assert len(data) == 1
    assert "1 of 2 conversations exceed max_length=300" in caplog.text


def test_only_too_long_conversations_are_an_error_that_names_the_shortest():
    with pytest.raises(ValueError, match=r"all 1 training conversations.*the shortest has \d+.*max_length"):
        build_dataset(tokenizer(), [TURNS], END, 16)


def test_no_conversations_are_an_error():
    with pytest.raises(ValueError, match="no training conversations"):
        build_dataset(tokenizer(), [], END, 100)


@pytest.mark.parametrize(("total", "batch"), [(20, 4), (50, 4), (13, 8), (3, 8)])
def test_schedule_deals_every_conversation_once_an_epoch(total, batch):
    lengths = list(range(20))
    batches = list(schedule(lengths, total, batch, torch.Generator().manual_seed(0)))
    dealt = [index for part in batches for index in part]
    assert len(dealt) == total
    assert len(batches) == -(-total // batch)
    full, rest = divmod(total, len(lengths))
    assert all(full <= dealt.count(index) <= full + (rest > 0) for index in range(len(lengths)))


def test_schedule_puts_alike_lengths_together():
    lengths = torch.randint(10, 500, (256,), generator=torch.Generator().manual_seed(1)).tolist()
    batches = list(schedule(lengths, 256, 8, torch.Generator().manual_seed(0)))
    padded = sum(len(part) * max(lengths[index] for index in part) for part in batches)
    assert padded < 1.15 * sum(lengths)
    assert [max(part) for part in batches] != sorted(max(part) for part in batches)


def test_padding_goes_right_and_is_never_trained():
    batch = collate([Encoded([5, 6], [IGNORED, 6]), Encoded([7, 8, 9], [IGNORED, 8, 9])], 2)
    assert batch.input_ids.tolist() == [[5, 6, 2], [7, 8, 9]]
    assert batch.labels.tolist() == [[IGNORED, 6, IGNORED], [IGNORED, 8, 9]]
    assert batch.tokens == 5
