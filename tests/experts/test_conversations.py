import logging

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from cycleqd.config import load_config
from cycleqd.evaluation.resources import build_skills
from cycleqd.experts.conversations import IGNORED, Encoded, collate, encode, encode_all, schedule
from cycleqd.faults import MendableFault
from cycleqd.models.causal_lm.rendering import render
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
    (encoded,) = encode(tokenizer(), TURNS, END)
    assert trained_text(tokenizer(), encoded) == "|Act: bash\nls | wc -l<|im_end|>|Act: answer(7)<|im_end|>"


def test_turn_that_asks_not_to_be_trained_is_shown_only():
    flagged = [*TURNS[:2], {**TURNS[2], "trained": False}, *TURNS[3:]]
    (encoded,) = encode(tokenizer(), flagged, END)
    assert trained_text(tokenizer(), encoded) == "|Act: answer(7)<|im_end|>"
    assert encoded.input_ids == encode(tokenizer(), TURNS, END)[0].input_ids


def test_conversation_whose_turns_are_all_flagged_is_refused():
    with pytest.raises(ValueError, match="no assistant turn"):
        encode(tokenizer(), [TURNS[1], {**TURNS[2], "trained": False}], END)


def test_real_tokenizer_trains_the_same_text(smollm2):
    tokens = AutoTokenizer.from_pretrained(smollm2)
    (encoded,) = encode(tokens, TURNS, END)
    assert trained_text(tokens, encoded) == "|Act: bash\nls | wc -l<|im_end|>|Act: answer(7)<|im_end|>"


def test_training_shows_the_conversation_that_engines_render(smollm2):
    for tokens in (tokenizer(), AutoTokenizer.from_pretrained(smollm2)):
        (encoded,) = encode(tokens, TURNS, END)
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
    assert trained_text(tokens, *encode(tokens, TURNS[:3], END)) == "|Act: bash\nls | wc -l\n"


def test_template_that_rewrites_earlier_turns_is_refused():
    tokens = tokenizer()
    tokens.chat_template = (
        "{{ messages | length }} messages: {% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}"
        "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    with pytest.raises(ValueError, match="renders an assistant's turn differently"):
        encode(tokens, TURNS, END)


def test_conversation_without_assistant_is_refused():
    with pytest.raises(ValueError, match="no assistant turn"):
        encode(tokenizer(), TURNS[:2], END)


THINKING = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% if m['role'] == 'assistant' and loop.last %}<think>\n\n</think>\n\n{% endif %}{{ m['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def test_template_that_drops_earlier_thoughts_gives_an_example_of_each_turn():
    tokens = tokenizer()
    tokens.chat_template = THINKING
    examples = encode(tokens, TURNS, END)
    assert [trained_text(tokens, example) for example in examples] == [
        "|<think>\n\n</think>\n\nAct: bash\nls | wc -l<|im_end|>",
        "|<think>\n\n</think>\n\nAct: answer(7)<|im_end|>",
    ]
    for example, turn in zip(examples, (2, 4), strict=True):
        shown = render(tokens, TURNS[:turn], reply_follows=True)
        assert example.input_ids[: len(shown)] == shown
        assert example.labels[len(shown) - 1 : len(shown) + 1] == [IGNORED, example.input_ids[len(shown)]]
    flagged = [*TURNS[:2], {**TURNS[2], "trained": False}, *TURNS[3:]]
    assert encode(tokens, flagged, END) == examples[1:]


@pytest.mark.parametrize("first", ["", "\n\n", " "])
def test_tokenizer_that_prefixes_a_space_is_trained_on_what_an_engine_shows(first):
    tokens = prefixing_tokenizer()
    talk = [{**message, "content": first * (message["role"] == "assistant") + message["content"]} for message in TURNS]
    (encoded,) = encode(tokens, talk[1:], (2,))
    assert encoded.input_ids == render(tokens, talk[1:], reply_follows=False)
    for turn in (1, 3):
        shown = render(tokens, talk[1 : turn + 1], reply_follows=True)
        assert encoded.input_ids[: len(shown)] == shown
        assert encoded.labels[len(shown) - 1 : len(shown) + 1] == [IGNORED, encoded.input_ids[len(shown)]]


def prefixing_tokenizer():
    """Of sentencepiece's kind: a space in front of every text that is tokenized, one token a character."""
    characters = ["<unk>", "<s>", "</s>", "\u2581", *(f"<0x{byte:02X}>" for byte in range(256))]
    core = Tokenizer(models.BPE({token: index for index, token in enumerate(characters)}, [], byte_fallback=True))
    core.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    core.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokens = PreTrainedTokenizerFast(
        tokenizer_object=core,
        **dict(zip(("unk_token", "bos_token", "eos_token"), characters, strict=False)),
    )
    tokens.chat_template = (
        "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'assistant' %} {{ m['content'] }}{{ eos_token }}"
        "{% else %}[INST] {{ m['content'] }} [/INST]{% endif %}{% endfor %}"
    )
    return tokens


def test_the_demos_conversations_are_encoded_as_they_always_were(smollm2):
    """Piece by piece, which is how the published results were made."""
    tokens = AutoTokenizer.from_pretrained(smollm2)
    end = (tokens.eos_token_id,)
    for skill in build_skills(load_config("demo")).values():
        for sample in skill.samples("train")[:40]:
            talk = list(skill.initial_messages(sample))
            for reply in skill.gold_replies(sample):
                talk += [{"role": "assistant", "content": reply}, {"role": "user", "content": "Output:\n 1\n\ttwo\n"}]
            assert encode(tokens, talk, end) == [piece_by_piece(tokens, talk, end)]
            shown = tokens.apply_chat_template(talk[:-2], tokenize=False, add_generation_prompt=True)
            assert (
                render(tokens, talk[:-2], reply_follows=True) == tokens(shown, add_special_tokens=False)["input_ids"]
            )


def piece_by_piece(tokens, talk, end):
    ids, labels, done = [], [], ""
    for position, message in enumerate(talk):
        if message["role"] != "assistant":
            continue
        prompt = tokens.apply_chat_template(talk[:position], tokenize=False, add_generation_prompt=True)
        through = tokens.apply_chat_template(talk[: position + 1], tokenize=False)
        shown = tokens(prompt[len(done) :], add_special_tokens=False)["input_ids"]
        said = tokens(through[len(prompt) :], add_special_tokens=False)["input_ids"]
        kept = max(index for index, token in enumerate(said) if token in end) + 1
        ids += shown + said
        labels += [IGNORED] * len(shown) + said[:kept] + [IGNORED] * (len(said) - kept)
        done = through
    return Encoded(ids, labels)


def test_too_long_conversations_are_left_out_with_a_warning(caplog):
    long = [{"role": "user", "content": "x" * 500}, TURNS[2]]
    with caplog.at_level(logging.WARNING):
        data = encode_all(tokenizer(), [TURNS, long], END, 300)
    assert (len(data.rows), data.left_out) == (1, 1)
    assert "1 of 2 conversations exceed max_length=300" in caplog.text


def test_only_too_long_conversations_are_an_error_that_names_the_shortest():
    with pytest.raises(MendableFault, match=r"all 1 training conversations.*the shortest has \d+.*max_length"):
        encode_all(tokenizer(), [TURNS], END, 16)


def test_no_conversations_are_an_error():
    with pytest.raises(ValueError, match="no training conversations"):
        encode_all(tokenizer(), [], END, 100)


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
