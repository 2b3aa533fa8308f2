"""What each merge method costs at the shapes of Llama-3-8B: 224 matrices, three rank-16 experts on shared bases.

    python -m tests.benchmarks.merge_cost

Only methods that are exact on cores are timed: what acts on entries needs the matrices themselves. The bases are of
small height, as only their width counts on cores; the matrices' own shapes are those of the model where a method looks
at them.
"""

import argparse
import time

import torch

from cycleqd.seams import MERGE_METHODS
from cycleqd.search.operators.merging import merge_method
from cycleqd.task_vector import FactoredTaskVector, SharedBases

LAYERS, HIDDEN, KV, INNER = 32, 4096, 1024, 14336
SHAPES = {
    "q": (HIDDEN, HIDDEN), "k": (KV, HIDDEN), "v": (KV, HIDDEN), "o": (HIDDEN, HIDDEN),
    "gate": (INNER, HIDDEN), "up": (INNER, HIDDEN), "down": (HIDDEN, INNER),
}  # fmt: skip


class CoresOnly(SharedBases):
    """Bases of which only the shapes are there: 5 GB of orthonormal columns would do nothing."""

    def __init__(self, shapes, width):
        self._shapes, self._width = shapes, width

    def names(self):
        return tuple(sorted(self._shapes))

    def shape(self, name):
        return self._shapes[name]

    def core_shape(self, name):
        return self._width, self._width


def experts(count, rank):
    generator = torch.Generator().manual_seed(0)
    shapes = {f"layers.{layer:02d}.{name}": shape for layer in range(LAYERS) for name, shape in SHAPES.items()}
    bases = CoresOnly(shapes, count * rank)

    def core():
        a, b = (torch.randn(count * rank, rank, generator=generator) for _ in range(2))
        return a @ b.T / (count * rank)

    return [FactoredTaskVector(bases, {name: core() for name in shapes}) for _ in range(count)]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--experts", type=int, default=3)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    vectors = experts(arguments.experts, arguments.rank)
    print(f"{len(vectors[0].names())} matrices, {arguments.experts} experts of rank {arguments.rank}")
    for name in MERGE_METHODS:
        method = merge_method(name)
        if not method.exact_on_cores:
            continue
        seconds = []
        for _ in range(arguments.repeat):
            began, busy = time.perf_counter(), time.process_time()
            method.merge(vectors)
            seconds.append((time.perf_counter() - began, time.process_time() - busy))
        elapsed, computed = (1000 * min(times) for times in zip(*seconds, strict=True))
        print(f"{name:16} {elapsed:8.0f} ms, processor {computed:6.0f} ms (best of {arguments.repeat})")


if __name__ == "__main__":
    main()
