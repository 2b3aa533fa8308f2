"""Checkpoints with the shapes of large models, filled with noise, and what a run does with them, for memory's sake.

    python -m tests.benchmarks.large_models make FOLDER --shapes llama --layers 2
    python -m tests.benchmarks.large_models dense FOLDER
    python -m tests.benchmarks.large_models lora FOLDER

`test_memory.py` runs the last two in processes with a hard limit of memory. They write into the folder and print
each step's name as it begins. For the disk's sake only the first four million numbers of a parameter are noise. The
others are zeros, which the files hold as holes: nothing here looks at the values.
"""

import argparse
import json
import math
import shutil
from pathlib import Path

import torch

from cycleqd.base_model import BaseWeights
from cycleqd.randomness import rng
from cycleqd.search import Recipe, make
from cycleqd.search.operators import GaussianMutation, Mutation, NoMutation, SoftmaxAggregation, SvdMutation
from cycleqd.steps.export import save_checkpoint, shards
from cycleqd.task_vector import (
    DenseTaskVector,
    LoraFactors,
    SharedBases,
    TaskVector,
    build_bases,
    load_task_vector,
    save_lora_adapter,
    weighted_sum,
)
from cycleqd.task_vector.files import TensorFile, as_bytes, write_tensors

VOCABULARY, HIDDEN, KEYS, INNER = 128_256, 4096, 1024, 14_336
"""Of Llama-3-8B, which has 32 layers."""
SAM_WIDTH, SAM_INNER, SAM_OUT = 1280, 5120, 256
"""Of SAM ViT-H's image encoder, which has 32 layers, and of its decoder."""
NOISE = 2**22
"""Numbers at the beginning of a parameter that are not zero."""
RANK = 16


def llama(layers: int) -> dict[str, tuple[int, ...]]:
    """Llama-3-8B with so many layers, its embedding, and its output head, which is as large."""
    of_layer = {
        "self_attn.q_proj.weight": (HIDDEN, HIDDEN),
        "self_attn.k_proj.weight": (KEYS, HIDDEN),
        "self_attn.v_proj.weight": (KEYS, HIDDEN),
        "self_attn.o_proj.weight": (HIDDEN, HIDDEN),
        "mlp.gate_proj.weight": (INNER, HIDDEN),
        "mlp.up_proj.weight": (INNER, HIDDEN),
        "mlp.down_proj.weight": (HIDDEN, INNER),
        "input_layernorm.weight": (HIDDEN,),
        "post_attention_layernorm.weight": (HIDDEN,),
    }
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (VOCABULARY, HIDDEN),
        "model.norm.weight": (HIDDEN,),
        "lm_head.weight": (VOCABULARY, HIDDEN),
    }
    return shapes | {f"model.layers.{i}.{name}": shape for i in range(layers) for name, shape in of_layer.items()}


def sam(layers: int) -> dict[str, tuple[int, ...]]:
    """SAM ViT-H with so many layers in its image encoder, from the configuration of transformers' classes."""
    from transformers import SamConfig, SamModel, SamVisionConfig

    from cycleqd.models.segmentation.shape import tensors_of

    vision = SamVisionConfig(
        hidden_size=SAM_WIDTH, mlp_dim=SAM_INNER, num_hidden_layers=layers, num_attention_heads=16,
        global_attn_indexes=[one for one in (7, 15, 23, 31) if one < layers], output_channels=SAM_OUT,
    )  # fmt: skip
    with torch.device("meta"):
        model = SamModel(SamConfig(vision_config=vision.to_dict()))
    return {name: tuple(tensor.shape) for name, tensor in tensors_of(model).items()}


def write_noise(folder: Path, shapes: dict[str, tuple[int, ...]], dtype: torch.dtype, seed: int) -> None:
    """A checkpoint of noise."""
    folder.mkdir(parents=True)
    noise = (torch.randn(NOISE, generator=torch.Generator().manual_seed(seed)) * 0.02).to(dtype)
    weight_map: dict[str, str] = {}
    for number, shard in enumerate(shards(dict(sorted(shapes.items())), dtype.itemsize), start=1):
        file = f"model-{number:05d}.safetensors"
        weight_map |= dict.fromkeys(shard, file)
        _write_with_holes(folder / file, shard, noise)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    (folder / "config.json").write_text(json.dumps({"tie_word_embeddings": False}))


def _write_with_holes(path: Path, shapes: dict[str, tuple[int, ...]], noise: torch.Tensor) -> None:
    header, end = {}, 0
    for name, shape in shapes.items():
        begun, end = end, end + noise.itemsize * math.prod(shape)
        kind = "BF16" if noise.dtype == torch.bfloat16 else "F32"
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": (begun, end)}
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)
    start = 8 + len(encoded)
    with path.open("wb") as file:
        file.write(len(encoded).to_bytes(8, "little") + encoded)
        for name, shape in shapes.items():
            file.seek(start + header[name]["data_offsets"][0])
            file.write(as_bytes(noise[: math.prod(shape)]))
        file.truncate(start + end)


def write_factors(path: Path, shapes: dict[str, tuple[int, ...]], seed: int) -> None:
    """What a LoRA expert on all linear layers has."""
    generator = torch.Generator().manual_seed(seed)
    block = torch.randn(RANK * INNER, generator=generator) * 0.02
    sides = {
        f"{side}/{name}": size
        for name, (m, n) in shapes.items()
        for side, size in (("a", (RANK, n)), ("b", (m, RANK)))
    }
    write_tensors(path, sides, lambda key: block[: sides[key][0] * sides[key][1]].view(sides[key]), {})


def begin(step: str) -> None:
    print(f"step {step}", flush=True)


def saved(vector: TaskVector, path: Path, bases: SharedBases | None = None) -> TaskVector:
    """The vector as a run reads it back, once its file is there."""
    vector.save(path)
    return load_task_vector(path, bases)


def child_of(experts: list[TaskVector], mutation: Mutation) -> TaskVector:
    begin(f"merge and {mutation.kind} mutation")
    drawn = {"kind": mutation.kind, "seed": mutation.draw(rng(0, 0, "mutation"))}
    recipe = Recipe(("0", "1"), (0.49, 0.51), "x", {}, {} if mutation.kind == "none" else drawn)
    return make(recipe, lambda name: experts[int(name)], mutation=mutation, expert_of=lambda _: "0").task_vector


def aggregate(elites: list[TaskVector]) -> TaskVector:
    begin("aggregate")
    return weighted_sum(SoftmaxAggregation().weights([0.4, 0.6]), elites)


def export(folder: Path, vector: TaskVector, dtype: str) -> None:
    begin("export")
    (folder / "export").mkdir()
    save_checkpoint(folder / "base", vector, dtype, folder / "export")


def dense(folder: Path, dtype: str, mutation: Mutation) -> None:
    """Two fully fine-tuned experts, a child of them, and a final model of the child and an expert; each is saved.

    What is no longer needed is deleted at once, for the disk's sake.
    """
    base = BaseWeights(folder / "base")
    experts: list[TaskVector] = []
    for number in range(2):
        begin("derive")
        tuned = DenseTaskVector.between(base, BaseWeights(folder / f"expert-{number}"))
        experts.append(saved(tuned, folder / f"vector-{number}.safetensors"))
        del tuned
        shutil.rmtree(folder / f"expert-{number}")
    child = saved(child_of(experts, mutation), folder / "child.safetensors")
    (folder / "vector-1.safetensors").unlink()
    final = saved(aggregate([child, experts[0]]), folder / "final.safetensors")
    (folder / "child.safetensors").unlink()
    (folder / "vector-0.safetensors").unlink()
    export(folder, final, dtype)


def unsaved(folder: Path, dtype: str, mutation: Mutation) -> None:
    """As `dense`, but all is computed while the final model is exported: no vector is ever on the disk."""
    base = BaseWeights(folder / "base")
    experts: list[TaskVector] = [
        DenseTaskVector.between(base, BaseWeights(folder / f"expert-{number}")) for number in range(2)
    ]
    final = aggregate([child_of(experts, mutation), experts[0]])
    export(folder, final, dtype)


def lora(folder: Path, dtype: str, mutation: Mutation) -> None:
    """Three LoRA experts on shared bases, a child of two, and a final model of the child and an expert."""
    base = BaseWeights(folder / "base")
    names = [name for name in base.names() if name.endswith("proj.weight")]
    experts = {}
    for seed in range(3):
        write_factors(folder / f"factors-{seed}", {name: base.shape(name) for name in names}, seed)
        file = TensorFile(folder / f"factors-{seed}")
        experts[str(seed)] = {
            name: LoraFactors(file.tensor(f"a/{name}"), file.tensor(f"b/{name}"), 2.0) for name in names
        }
    begin("derive")
    bases, vectors = build_bases(experts)
    bases.save(folder / "bases.safetensors")
    child = saved(child_of([vectors["0"], vectors["1"]], mutation), folder / "child.safetensors", bases)
    final = saved(aggregate([child, vectors["0"]]), folder / "final.safetensors", bases)
    begin("export an adapter")
    save_lora_adapter(final, "base", folder / "adapter")
    export(folder, final, dtype)


WAYS = {"dense": dense, "unsaved": unsaved, "lora": lora}
MUTATIONS = {"svd": SvdMutation(), "gaussian": GaussianMutation(), "none": NoMutation()}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("make", *WAYS))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--shapes", choices=("llama", "sam"), default="llama")
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--experts", type=int, default=2)
    parser.add_argument("--mutation", choices=MUTATIONS, default="gaussian")
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16")
    given = parser.parse_args()
    if given.what == "make":
        shapes = llama(given.layers) if given.shapes == "llama" else sam(given.layers)
        for seed, name in enumerate(("base", *(f"expert-{number}" for number in range(given.experts)))):
            write_noise(given.folder / name, shapes, getattr(torch, given.dtype), seed)
    else:
        WAYS[given.what](given.folder, given.dtype, MUTATIONS[given.mutation])


if __name__ == "__main__":
    main()
