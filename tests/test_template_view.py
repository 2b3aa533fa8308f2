"""A base with another chat template: everybody who reads the view renders the same prompts."""

import json
import shutil

import pytest
import torch
from transformers import AutoModelForCausalLM

from cycleqd.checkpoint import BaseModelInvalid
from cycleqd.config import ConfigError, RunConfig, parse_config
from cycleqd.evaluation.resources import find_base
from cycleqd.models.causal_lm.rendering import load_tokenizer, template_text
from cycleqd.run.base_identity import identify
from cycleqd.template_view import TEMPLATE, with_template
from tests.tiny_models import CHAT_TEMPLATE

THINKING = (
    "{% for message in messages %}[{{ message['role'] }}] {{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% if enable_thinking is defined and enable_thinking is false %}"
    " <think></think>{% endif %}{% if style is defined %} {{ style }}{% endif %}\n{% endif %}"
)
TALK = [{"role": "user", "content": "hello"}]


def shown(folder):
    return template_text(load_tokenizer(folder), TALK, reply_follows=True)


def test_without_settings_the_folder_is_its_own(tiny_tied, tmp_path):
    assert with_template(tiny_tied, tmp_path, settings={}) == tiny_tied


def test_a_file_takes_the_place_of_the_models_own_template(tiny_tied, tmp_path):
    (tmp_path / "mine.jinja").write_text(THINKING)
    view = with_template(tiny_tied, tmp_path / "cache", file=str(tmp_path / "mine.jinja"), settings={})
    assert shown(view) == "[user] hello\n[assistant]"
    assert shown(tiny_tied) != shown(view)
    assert with_template(tiny_tied, tmp_path / "cache", file=str(tmp_path / "mine.jinja"), settings={}) == view
    same = [AutoModelForCausalLM.from_pretrained(folder).state_dict() for folder in (tiny_tied, view)]
    assert all(torch.equal(same[0][name], same[1][name]) for name in same[0])
    own, other = identify("x", tiny_tied), identify("x", view)
    assert own.base == other.base
    assert own.tokenizer != other.tokenizer  # so that a run does not go on with another template


def test_settings_are_told_to_the_template_wherever_it_is_stored(tiny_tied, tmp_path):
    for place in ("file", "configuration", "list"):
        base = shutil.copytree(tiny_tied, tmp_path / place)
        (base / TEMPLATE).unlink(missing_ok=True)
        config = json.loads((base / "tokenizer_config.json").read_text())
        inline = {
            "file": None, "configuration": THINKING,
            "list": [{"name": "tool_use", "template": "no"}, {"name": "default", "template": THINKING}],
        }[place]  # fmt: skip
        config.pop("chat_template", None)
        (base / "tokenizer_config.json").write_text(json.dumps(config | ({"chat_template": inline} if inline else {})))
        if place == "file":
            (base / TEMPLATE).write_text(THINKING)
        settings = {"enable_thinking": False, "style": 'b"ri\\ef'}
        view = with_template(base, tmp_path / "cache", settings=settings)
        assert shown(view) == '[user] hello\n[assistant] <think></think> b"ri\\ef'
        assert shown(base) == "[user] hello\n[assistant]"


def test_a_line_break_that_begins_a_template_stays(tiny_tied, tmp_path):
    (tmp_path / "mine.jinja").write_text("\nIt begins.\n" + CHAT_TEMPLATE)
    plain, told = (
        with_template(tiny_tied, tmp_path / "cache", file=str(tmp_path / "mine.jinja"), settings=settings)
        for settings in ({}, {"x": 1})
    )
    assert shown(plain) == shown(told)


def test_a_download_keeps_its_commit(tiny_tied, tmp_path):
    base = shutil.copytree(tiny_tied, tmp_path / "snapshots" / "c0ffee")
    view = with_template(base, tmp_path / "cache", settings={"x": True})
    assert identify("x", view).revision == "c0ffee"


def test_what_cannot_be_read_is_refused(tiny_tied, tmp_path):
    with pytest.raises(BaseModelInvalid, match=r"model\.chat_template: .*no file"):
        with_template(tiny_tied, tmp_path, file=str(tmp_path / "nowhere.jinja"), settings={})
    base = shutil.copytree(tiny_tied, tmp_path / "base")
    (base / TEMPLATE).unlink()
    with pytest.raises(BaseModelInvalid, match="no chat template of its own"):
        with_template(base, tmp_path, settings={"x": 1})


def test_a_configuration_names_file_and_settings(tiny_tied, tmp_path, monkeypatch):
    monkeypatch.setattr("cycleqd.evaluation.resources.cache_dir", lambda: tmp_path / "cache")
    (tmp_path / "mine.jinja").write_text(THINKING)
    model = {"chat_template": str(tmp_path / "mine.jinja"), "chat_template_kwargs": {"enable_thinking": False}}
    config = RunConfig.model_validate({"model": {"name": str(tiny_tied), **model}})
    assert shown(find_base(config)) == "[user] hello\n[assistant] <think></think>"
    for name in ("messages", "a b"):
        with pytest.raises(ConfigError, match=r"model\.chat_template_kwargs"):
            parse_config({"model": {"chat_template_kwargs": {name: True}}})
