"""Which dtype a machine gets."""

import pytest

from cycleqd.config import load_config
from cycleqd.models import hardware
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
