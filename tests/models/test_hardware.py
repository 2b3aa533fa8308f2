"""Which dtype and which engine a machine gets."""

import json
import platform

import psutil
import pytest

from cycleqd.config import RunConfig, load_config
from cycleqd.models import causal_lm, hardware
from cycleqd.run.store import RunStore, StoreError


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("flags\t\t: fma avx2 avx512f avx512_bf16", "bfloat16"),
        ("flags\t\t: fma avx2 avx512f amx_bf16 amx_tile", "bfloat16"),
        ("Features\t: fp asimd bf16", "bfloat16"),
        ("flags\t\t: fma avx2 avx512f avx512_vnni", "float32"),
        ("model name\t: bf16", "float32"),
    ],
)
def test_bf16_only_where_the_cpu_has_instructions_for_it(line, expected, tmp_path, monkeypatch):
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\n{line}\n\nprocessor\t: 1\n")
    flags = hardware._cpu_flags(tmp_path / "cpuinfo")
    monkeypatch.setattr(hardware, "_cpu_flags", lambda: flags)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert hardware.native_dtype() == expected


def test_a_system_that_tells_nothing_gets_fp32(tmp_path):
    assert hardware._cpu_flags(tmp_path / "none") == set()


def test_a_run_keeps_the_dtype_that_it_began_with(tmp_path, monkeypatch):
    config = load_config("demo", (f"storage={tmp_path}",))
    monkeypatch.setattr(hardware, "native_dtype", lambda: "float32")
    store = RunStore(config.storage, config.run_id)
    store.open(config)
    assert store.config().model.dtype == "float32"
    monkeypatch.setattr(hardware, "native_dtype", lambda: "bfloat16")
    store.open(config)
    assert store.config().model.dtype == "float32"
    with pytest.raises(StoreError, match=r"model\.dtype: was 'float32', now 'bfloat16'"):
        store.open(load_config("demo", (f"storage={tmp_path}", "model.dtype=bfloat16")))


@pytest.mark.parametrize("settings", [
    {"num_experts": 128}, {"num_local_experts": 8}, {"text_config": {"n_routed_experts": 64}},
], ids=str)  # fmt: skip
def test_auto_is_transformers_for_a_mixture_of_experts_and_vllm_is_refused(settings, tmp_path, monkeypatch):
    (tmp_path / "config.json").write_text(json.dumps(settings))
    monkeypatch.setattr(hardware, "has_vllm", lambda: True)
    monkeypatch.setattr(causal_lm, "has_vllm", lambda: True)
    assert hardware.resolve_kind("auto", tmp_path) == "transformers"
    config = RunConfig.model_validate({"run_id": "r", "model": {"name": str(tmp_path), "dtype": "float32"}})
    assert hardware.pinned(config).engine.kind == "transformers"
    with pytest.raises(ValueError, match="choose 'transformers'"):
        causal_lm.open_engine("vllm", tmp_path)


@pytest.mark.parametrize("text", ["{}", '{"num_experts": 0}', '{"num_local_experts": 1}', "[]", "no JSON", None])
def test_auto_is_vllm_for_everything_else(text, tmp_path, monkeypatch):
    if text is not None:
        (tmp_path / "config.json").write_text(text)
    monkeypatch.setattr(hardware, "has_vllm", lambda: True)
    assert hardware.resolve_kind("auto", tmp_path) == "vllm"


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries keep nothing")
def test_memory_that_was_freed_between_pieces_in_use_goes_back_to_the_system():
    pieces = [bytearray(b"x" * 50_000) for _ in range(8_000)]  # of a size that the C library takes from its heap
    kept = pieces[::400]
    before = psutil.Process().memory_info().rss
    pieces.clear()
    hardware.free_unused_memory()
    assert before - psutil.Process().memory_info().rss > 300_000_000
    assert sum(map(len, kept)) == 20 * 50_000
