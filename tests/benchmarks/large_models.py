"""Checkpoints with the shapes of large models, filled with noise, and what a run does with them, for memory's sake.

    python -m tests.benchmarks.large_models make FOLDER --shapes llama --layers 2
    python -m tests.benchmarks.large_models dense FOLDER
    python -m tests.benchmarks.large_models lora FOLDER

`test_memory.py` runs the last two in processes with a hard limit of memory. They write into the folder and print
each step's name as it begins. The noise is one random block, repeated: nothing here looks at the values.
"""

import argparse
import json
import shutil
from collections.abc import Iterator
from functools import partial
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
from cycleqd.task_vector.files import TensorFile, write_shard, write_tensors

VOCABULARY, HIDDEN, KEYS, INNER = 128_256, 4096, 1024, 14_336
"""Of Llama-3-8B, which has 32 layers."""
SAM_WIDTH, SAM_INNER, SAM_OUT = 1280, 5120, 256
"""Of SAM ViT-H's image encoder, which has 32 layers, and of its decoder."""
BLOCK = 2**23
RANK = 16


def llama(layers: int, *, head: bool = True) -> dict[str, tuple[int, ...]]:
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
    }
    if head:
        shapes["lm_head.weight"] = (VOCABULARY, HIDDEN)
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


def write_noise(folder: Path, shapes: dict[str, tuple[int, ...]], dtype: torch.dtype, shift: float) -> None:
    """A checkpoint of repeated noise; those of other shifts differ a little everywhere."""
    folder.mkdir(parents=True)
    noise = torch.randn(BLOCK, generator=torch.Generator().manual_seed(0)) * 0.02
    noise = (noise + shift * torch.randn(BLOCK, generator=torch.Generator().manual_seed(1))).to(dtype)

    def blocks(name: str) -> Iterator[torch.Tensor]:
        shape = shapes[name]
        width = int(torch.tensor(shape[1:]).prod()) if len(shape) > 1 else 1
        rows = max(1, BLOCK // width)
        for first in range(0, shape[0], rows):
            count = min(rows, shape[0] - first)
            yield noise[: count * width].view(count, *shape[1:])

    weight_map: dict[str, str] = {}
    for number, shard in enumerate(shards(dict(sorted(shapes.items())), dtype.itemsize), start=1):
        weight_map |= dict.fromkeys(shard, f"model-{number:05d}.safetensors")
        write_shard(folder / f"model-{number:05d}.safetensors", shard, dtype, blocks)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    (folder / "config.json").write_text(json.dumps({"tie_word_embeddings": False}))


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


def evolve(folder: Path, experts: list[TaskVector], mutation: Mutation, bases: SharedBases | None) -> TaskVector:
    """Two children and the final model of them."""
    children = []
    for number, weights in enumerate(((0.49, 0.51), (0.52, 0.48))):
        begin(f"merge and {mutation.kind} mutation")
        drawn = {"kind": mutation.kind, "seed": mutation.draw(rng(0, number, "mutation"))}
        recipe = Recipe(("0", "1"), weights, "x", {}, {} if mutation.kind == "none" else drawn)
        made = make(recipe, lambda name: experts[int(name)], mutation=mutation, expert_of=lambda _: "0")
        children.append(saved(made.task_vector, folder / f"child-{number}.safetensors", bases))
    for file in folder.glob("vector-*.safetensors"):  # for the disk's sake
        file.unlink()
    begin("aggregate")
    final = saved(
        weighted_sum(SoftmaxAggregation().weights([0.4, 0.6]), children), folder / "final.safetensors", bases
    )
    for number in range(len(children)):
        (folder / f"child-{number}.safetensors").unlink()
    return final


def dense(folder: Path, dtype: str, mutation: Mutation) -> None:
    """Two fully fine-tuned experts."""
    base = BaseWeights(folder / "base")
    experts: list[TaskVector] = []
    for number in range(2):
        begin("derive")
        tuned = DenseTaskVector.between(base, BaseWeights(folder / f"expert-{number}"))
        experts.append(saved(tuned, folder / f"vector-{number}.safetensors"))
        del tuned
        shutil.rmtree(folder / f"expert-{number}")
    final = evolve(folder, experts, mutation, None)
    begin("export")
    (folder / "export").mkdir()
    save_checkpoint(folder / "base", final, dtype, folder / "export")


def lora(folder: Path) -> None:
    """Three LoRA experts on shared bases."""
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
    final = evolve(folder, [vectors["0"], vectors["1"]], SvdMutation(), bases)
    begin("export an adapter")
    save_lora_adapter(final, "base", folder / "adapter")
    begin("export")
    (folder / "export").mkdir()
    save_checkpoint(folder / "base", final, "bfloat16", folder / "export")


MUTATIONS = {"svd": SvdMutation(), "gaussian": GaussianMutation(), "none": NoMutation()}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("make", "dense", "lora"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--shapes", choices=("llama", "sam"), default="llama")
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--headless", action="store_true")
    parser.add_argument("--experts", type=int, default=2)
    parser.add_argument("--mutation", choices=MUTATIONS, default="gaussian")
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16")
    given = parser.parse_args()
    if given.what == "make":
        shapes = llama(given.layers, head=not given.headless) if given.shapes == "llama" else sam(given.layers)
        make_noise = partial(write_noise, shapes=shapes, dtype=getattr(torch, given.dtype))
        make_noise(given.folder / "base", shift=0.0)
        for number in range(given.experts):
            make_noise(given.folder / f"expert-{number}", shift=0.001 * (number + 1))
    elif given.what == "dense":
        dense(given.folder, given.dtype, MUTATIONS[given.mutation])
    else:
        lora(given.folder)


if __name__ == "__main__":
    main()
