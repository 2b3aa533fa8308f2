import json

import pytest

from cycleqd.inference.rendering import end_tokens, render
from tests.tiny_models import tokenizer

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
