import json
from datetime import date

import pytest

from cycleqd.config import RunConfig, parse_config
from cycleqd.models.causal_lm.rendering import TEMPLATE_DATE, end_tokens, render
from tests.tiny_models import CHAT_TEMPLATE, SPECIAL_TOKENS, tokenizer

MESSAGES = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hello"}]


def test_special_tokens_are_written_once_by_the_template():
    ids = render(tokenizer(), MESSAGES, reply_follows=True)
    assert tokenizer().decode(ids) == (
        "<|im_start|>system\nbe brief<|im_end|>\n<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n"
    )
    assert ids.count(1) == 3


def test_tokenizer_without_chat_template_is_refused():
    plain = tokenizer()
    plain.chat_template = None
    with pytest.raises(ValueError, match="chat template"):
        render(plain, MESSAGES, reply_follows=True)


def test_every_end_token_of_the_model_ends_a_reply(tmp_path):
    # Llama 3 Instruct ends turns with another token than the tokenizer's end of text.
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [9, 7]}))
    (tmp_path / "config.json").write_text(json.dumps({"eos_token_id": 9}))
    assert end_tokens(tokenizer(), tmp_path) == (2, 7, 9)


def test_model_without_end_token_of_its_own_ends_with_the_tokenizers(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"eos_token_id": None}))
    assert end_tokens(tokenizer(), tmp_path) == (2,)


NO_SYSTEM = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}" + CHAT_TEMPLATE
)
ALTERNATING = (
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}{% endfor %}" + CHAT_TEMPLATE
)
SILENT = CHAT_TEMPLATE.replace(
    "{% for message in messages %}", "{% for message in messages if message['role'] != 'system' %}"
)


@pytest.mark.parametrize("template", [NO_SYSTEM, ALTERNATING, SILENT])
def test_template_without_a_place_for_the_system_shows_its_text_in_the_first_user_turn(template):
    tokens = tokenizer()
    tokens.chat_template = template
    assert tokens.decode(render(tokens, MESSAGES, reply_follows=True)) == (
        "<|im_start|>user\nbe brief\n\nhello<|im_end|>\n<|im_start|>assistant\n"
    )


def test_folding_is_found_out_again_when_the_template_changes():
    tokens = tokenizer()
    before = render(tokens, MESSAGES, reply_follows=True)
    tokens.chat_template = NO_SYSTEM
    assert render(tokens, MESSAGES, reply_follows=True) != before
    tokens.chat_template = CHAT_TEMPLATE
    assert render(tokens, MESSAGES, reply_follows=True) == before


def test_template_that_asks_for_the_date_is_told_the_one_of_the_run():
    tokens = tokenizer()
    tokens.chat_template = "{{ strftime_now('%d %b %Y %H:%M:%S') }}" + CHAT_TEMPLATE
    text = tokens.decode(render(tokens, MESSAGES, reply_follows=True))
    assert text.startswith("01 Jan 2026 00:00:00<|im_start|>")
    text = tokens.decode(render(tokens, MESSAGES, reply_follows=True, date=date(2024, 2, 29)))
    assert text.startswith("29 Feb 2024 00:00:00<|im_start|>")


def test_date_of_the_configuration_is_the_templates_own():
    assert RunConfig().model.date == TEMPLATE_DATE
    assert parse_config(RunConfig().model_dump(mode="json")) == RunConfig()


def test_token_that_closes_a_turn_ends_a_reply_whatever_the_tokenizer_says(tmp_path):
    tokens = tokenizer()
    tokens.eos_token = SPECIAL_TOKENS[0]
    (tmp_path / "config.json").write_text(json.dumps({"eos_token_id": 0}))
    assert end_tokens(tokens, tmp_path) == (0, 2)


def test_text_that_closes_a_turn_is_no_end_token(tmp_path):
    tokens = tokenizer()
    tokens.chat_template = "{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }}\n{% endfor %}"
    (tmp_path / "config.json").write_text(json.dumps({"eos_token_id": None}))
    assert end_tokens(tokens, tmp_path) == (2,)
