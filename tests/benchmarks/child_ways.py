"""One child, from parents on disk to weights that an engine can take, in several ways; each in its own process.

    python -m tests.benchmarks.child_ways prepare FOLDER [--shapes smollm|llama-layer]
    python -m tests.benchmarks.child_ways ours|adapter|reference FOLDER

A child is a linear merge of two parents and an SVD mutation, rounded to bf16.

* ``ours``: cores are merged and mutated, the genome is saved, and every parameter is summed up, as an engine takes it.
* ``adapter``: the same, and a LoRA adapter is written, as a server takes it.
* ``reference``: re-created from a description of the released code. Base and parents are read as state dicts and
  subtracted, task vectors are merged, the stored SVD of the active expert's is stretched and added, and the child is
  saved as a checkpoint, from which the engine would be started.

Each way prints JSON: seconds without imports, bytes that it wrote, and the most anonymous memory that it held beyond
what was there at the start.
"""

import argparse
import json
import shutil
import threading
import time
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from cycleqd.base_model import BaseWeights, resolve_base
from cycleqd.models.causal_lm.merging import MergedWeights
from cycleqd.search.operators import SvdMutation
from cycleqd.storage import cache_dir
from cycleqd.task_vector import SharedBases, build_bases, load_task_vector, save_lora_adapter

RANK, EXPERTS = 16, 3
LAYER = {
    "q_proj": (4096, 4096), "k_proj": (1024, 4096), "v_proj": (1024, 4096), "o_proj": (4096, 4096),
    "gate_proj": (14336, 4096), "up_proj": (14336, 4096), "down_proj": (4096, 14336),
}  # fmt: skip
"""Of Llama-3-8B."""
WEIGHTS = (0.51, 0.49)
SEED, W_MAX = 7, 0.3


class Memory:
    """The most anonymous memory of this process since the start, sampled."""

    def __init__(self) -> None:
        self.start = self.peak = _anonymous()

    @contextmanager
    def watched(self):
        done = threading.Event()

        def look() -> None:
            while not done.wait(0.005):
                self.peak = max(self.peak, _anonymous())

        thread = threading.Thread(target=look)
        thread.start()
        try:
            yield self
        finally:
            done.set()
            thread.join()


def _anonymous() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


def prepare(folder: Path, shapes: str) -> None:
    base = folder / "base"
    if shapes == "smollm":
        shutil.copytree(resolve_base("smollm2-135m-instruct", cache_dir()), base)
    else:
        base.mkdir(parents=True)
        tensors = {f"model.layers.0.{name}.weight": torch.randn(shape).bfloat16() for name, shape in LAYER.items()}
        save_file(tensors, base / "model.safetensors", metadata={"format": "pt"})
        (base / "config.json").write_text(json.dumps({"model_type": "llama", "architectures": ["LlamaForCausalLM"]}))
    weights = BaseWeights(base)
    adapted = [name for name in weights.names() if len(weights.shape(name)) == 2 and "embed" not in name]
    generator = torch.Generator().manual_seed(0)
    factors = {
        f"expert-{number}": {
            name: (
                torch.randn(RANK, weights.shape(name)[1], generator=generator),
                torch.randn(weights.shape(name)[0], RANK, generator=generator) * 1e-3,
                2.0,
            )
            for name in adapted
        }
        for number in range(EXPERTS)
    }
    bases, vectors = build_bases(factors)
    bases.save(folder / "bases.safetensors")
    for name, vector in vectors.items():
        vector.save(folder / f"{name}.safetensors")
        checkpoint = folder / name
        shutil.copytree(base, checkpoint)
        merged = dict(MergedWeights(weights, vector, torch.bfloat16))
        save_file(merged, checkpoint / "model.safetensors", metadata={"format": "pt"})
    # Of low rank, as the deltas are: a full one of the large matrices would take minutes more and change nothing.
    decompositions = {}
    for name in adapted:
        u, sigma, v = torch.svd_lowrank(vectors["expert-0"].delta(name), 2 * RANK)
        decompositions[name] = (u, sigma, v)
    torch.save(decompositions, folder / "svd.pt")


def ours(folder: Path, out: Path) -> None:
    child = _bred(folder)
    child.save(out / "genome.safetensors")
    for _, parameter in MergedWeights(BaseWeights(folder / "base"), child, torch.bfloat16):
        del parameter


def adapter(folder: Path, out: Path) -> None:
    child = _bred(folder)
    child.save(out / "genome.safetensors")
    save_lora_adapter(child, "base", out / "adapter")


def _bred(folder: Path):
    bases = SharedBases.load(folder / "bases.safetensors")
    first, second, expert = (load_task_vector(folder / f"expert-{n}.safetensors", bases) for n in (0, 1, 0))
    merged = first.combine(WEIGHTS[0], [(WEIGHTS[1], second)])
    return SvdMutation(w_max=W_MAX).apply(merged, expert, SEED)


def reference(folder: Path, out: Path) -> None:
    base, first, second = (load_file(folder / name / "model.safetensors") for name in ("base", "expert-0", "expert-1"))
    one = {name: first[name] - base[name] for name in base}
    two = {name: second[name] - base[name] for name in base}
    merged = {name: WEIGHTS[0] * one[name] + WEIGHTS[1] * two[name] for name in base}
    decompositions = torch.load(folder / "svd.pt", weights_only=True)
    generator = torch.Generator().manual_seed(SEED)
    for name, (u, sigma, v) in decompositions.items():
        w = torch.rand(len(sigma), generator=generator) * W_MAX
        merged[name] = merged[name] + (u @ torch.diag(w * sigma) @ v.T).to(merged[name].dtype)
    child = {name: (base[name] + merged[name]).contiguous() for name in base}
    save_file(child, out / "model.safetensors", metadata={"format": "pt"})
    load_file(out / "model.safetensors")


WAYS = {"ours": ours, "adapter": adapter, "reference": reference}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("way", choices=["prepare", *WAYS])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--shapes", choices=["smollm", "llama-layer"], default="smollm")
    arguments = parser.parse_args()
    if arguments.way == "prepare":
        prepare(arguments.folder, arguments.shapes)
        return
    out = arguments.folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    import_module("peft")  # which adapters are written with; a run imports it once
    memory = Memory()
    with memory.watched():
        started = time.perf_counter()
        WAYS[arguments.way](arguments.folder, out)
        seconds = time.perf_counter() - started
    written = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    print(json.dumps({"seconds": seconds, "bytes": written, "memory": memory.peak - memory.start}))


if __name__ == "__main__":
    main()
