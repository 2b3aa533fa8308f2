"""What a run finds out about a model's folder before anything is trained."""

import json
import os
import shutil

import pytest
from safetensors.torch import load_file, save_file
from transformers import GPT2Config, GPT2LMHeadModel, Qwen3MoeConfig, Qwen3MoeForCausalLM

from cycleqd.checkpoint import BaseModelInvalid
from cycleqd.preflight import probe as model_probe
from cycleqd.preflight.probe import TokenizerInvalid, probe
from tests.tiny_models import CHAT_TEMPLATE, tokenizer


@pytest.fixture
def folder(tiny_tied, tmp_path):
    return shutil.copytree(tiny_tied, tmp_path / "copy")


def template(folder, text):
    tokens = tokenizer()
    tokens.chat_template = text
    tokens.save_pretrained(folder)


@pytest.fixture
def look(monkeypatch):
    """What the child does, in this process and without its limits: loading its libraries takes seconds each time."""
    monkeypatch.setattr(model_probe, "_begin", lambda step, seconds: None)
    monkeypatch.setattr(model_probe.resource, "setrlimit", lambda *arguments: None)

    def one(folder, method="lora", samples=()):
        return model_probe._look(
            model_probe._Request(str(folder), str(folder), method, 4, tuple(map(json.dumps, samples)), "2026-01-01")
        )

    return one


@pytest.mark.parametrize("method", ["lora", "full", None])
@pytest.mark.parametrize("model", ["tiny_tied", "tiny_biased"])
def test_fit_folder_is_fit(look, request, model, method):
    facts = look(request.getfixturevalue(model), method)
    assert (facts.tokens, facts.rows, facts.context) == (99, 99, 512)
    assert facts.longest > 20


def test_openings_of_the_skills_are_rendered(look, folder):
    opening = [{"role": "user", "content": "word " * 90}]
    assert look(folder, samples=[opening]).longest > 450
    # As AgentBench's, which show a whole episode first.
    played = [{"role": "assistant", "content": "Act: bash"}, {"role": "user", "content": "Now you."}]
    assert look(folder, samples=[[*opening, *played]]).longest > 450
    template(folder, CHAT_TEMPLATE + "{% if messages[0].content[:4] == 'word' %}{{ none.nothing.here }}{% endif %}")
    assert look(folder)
    with pytest.raises(BaseModelInvalid, match="chat template cannot be used"):
        look(folder, samples=[opening])


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("{% for m in messages %}", "TemplateSyntaxError"),
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "SecurityError"),
        ("{{ cycler.__init__.__globals__.os.popen('id').read() }}", "SecurityError|UndefinedError"),
        ("{% for i in range(10**9) %}{% endfor %}", "OverflowError"),
        ("{{ messages[5].content }}", "UndefinedError|TypeError"),
        ("nothing of it", "leaves out what"),
        ("{% for m in messages if m.role != 'assistant' %}{{ m.content }}{% endfor %}", "assistant"),
        ("{{ messages | length }}" + CHAT_TEMPLATE, "differently"),
    ],
)
def test_template_that_is_no_fit_program_is_one_line(look, folder, text, fault):
    template(folder, text)
    with pytest.raises(BaseModelInvalid, match=fault) as caught:
        look(folder)
    assert "\n" not in str(caught.value)


def test_tokenizer_that_brings_code_is_refused_without_a_question(look, folder, monkeypatch):
    file = folder / "tokenizer_config.json"
    settings = json.loads(file.read_text()) | {"auto_map": {"AutoTokenizer": ["code.Mine", None]}}
    file.write_text(json.dumps(settings | {"tokenizer_class": "Mine"}))
    (folder / "code.py").write_text("raise SystemExit('ran')")
    monkeypatch.setattr("builtins.input", lambda *arguments: pytest.fail("asked"))
    with pytest.raises(BaseModelInvalid, match="tokenizer cannot be loaded"):
        look(folder)


def test_more_tokens_than_rows_are_refused(look, folder):
    tokens = tokenizer()
    tokens.add_special_tokens({"additional_special_tokens": ["<|turn|>"]})
    tokens.save_pretrained(folder)
    with pytest.raises(BaseModelInvalid, match="knows 100 tokens, its embedding has 99 rows"):
        look(folder)


@pytest.mark.parametrize("end", ["</s>", -1, 10**6, True])
def test_end_that_is_no_token_is_refused(look, folder, end):
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": end}))
    with pytest.raises(BaseModelInvalid, match=r"eos_token_id .* is no token|cannot be read"):
        look(folder)


@pytest.mark.parametrize("size", ["intermediate_size", "num_attention_heads", "vocab_size", "num_hidden_layers"])
def test_sizes_that_are_not_the_files_are_refused(look, folder, size):
    file = folder / "config.json"
    settings = json.loads(file.read_text())
    file.write_text(json.dumps(settings | {size: settings[size] * 2}))
    with pytest.raises(BaseModelInvalid):
        look(folder)


def test_layers_whose_adapters_could_not_be_read_back_are_refused_for_lora_alone(look, tmp_path):
    config = GPT2Config(vocab_size=99, n_embd=32, n_layer=1, n_head=2, n_positions=512, bos_token_id=1, eos_token_id=2)
    GPT2LMHeadModel(config).save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    with pytest.raises(BaseModelInvalid, match=r"fan_in_fan_out.*experts\.method to full"):
        look(tmp_path, "lora")
    assert look(tmp_path, "full").rows == 99


def test_experts_that_are_stored_one_by_one_are_fit_when_all_are_there(look, tmp_path):
    config = Qwen3MoeConfig(
        vocab_size=99, hidden_size=32, intermediate_size=32, moe_intermediate_size=16, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=1, head_dim=16, num_experts=2, num_experts_per_tok=1,
        bos_token_id=1, eos_token_id=2, pad_token_id=None,
    )  # fmt: skip
    Qwen3MoeForCausalLM(config).save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    for method in ("lora", "full"):
        assert look(tmp_path, method).rows == 99
    file = tmp_path / "model.safetensors"
    save_file({name: t for name, t in load_file(file).items() if ".experts.1.up" not in name}, file)
    with pytest.raises(BaseModelInvalid, match=r"mlp\.experts"):
        look(tmp_path)


def test_weights_may_be_larger_than_the_memory_that_the_child_may_take(look, folder, monkeypatch):
    limits = []

    def note(kind, both):
        if kind == model_probe.resource.RLIMIT_AS:
            limits.append(both[0])

    monkeypatch.setattr(model_probe.resource, "setrlimit", note)
    look(folder)
    (folder / "unused.safetensors").touch()
    with (folder / "unused.safetensors").open("r+b") as file:
        file.truncate(2**40)  # a hole, which takes no room
    look(folder)
    assert limits[1] - limits[0] > 2**40


@pytest.mark.slow
def test_template_without_an_end_is_ended_and_a_fit_folder_is_not_looked_at_again(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("CYCLEQD_CACHE", str(tmp_path / "cache"))
    endless = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    template(folder, endless)
    with pytest.raises(TokenizerInvalid, match="chat template: not done after 5 s"):
        probe(folder)
    template(folder, CHAT_TEMPLATE)  # the answer is of the files, not of the path
    assert probe(folder).rows == 99
    with monkeypatch.context() as patch:
        patch.setattr(model_probe.subprocess, "Popen", lambda *arguments, **options: pytest.fail("asked again"))
        assert probe(folder).rows == 99
        model_probe._remembered.cache_clear()  # as another process
        assert probe(folder).rows == 99
    asked = []
    monkeypatch.setattr(
        model_probe, "_found_by_child", lambda request: asked.append(request) or model_probe.Facts(1, 2, 3, 4)
    )
    (note,) = (tmp_path / "cache" / "preflight").iterdir()
    note.write_text("[1]")
    model_probe._remembered.cache_clear()
    assert probe(folder).rows == 2  # found out anew, and noted
    note.write_bytes(b"\xff")
    model_probe._remembered.cache_clear()
    assert probe(folder).rows == 2
    assert len(asked) == 2
    monkeypatch.setattr(model_probe, "installed_version", lambda name: "another")
    model_probe._remembered.cache_clear()
    probe(folder)
    assert len(asked) == 3
    # Swapped for another of the same size and time, as `cp -p` does it.
    weights = folder / "model.safetensors"
    copy = shutil.copy2(weights, tmp_path)
    os.replace(copy, weights)
    model_probe._remembered.cache_clear()
    probe(folder)
    assert len(asked) == 4
