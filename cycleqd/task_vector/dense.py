"""Task vectors of any kind, computed and stored tensor by tensor, large tensors in blocks of rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import torch

from cycleqd.task_vector.files import ContentHash, TensorFile, write_blocks
from cycleqd.task_vector.matrices import by_slice, in_slices, is_stack, matrix_names
from cycleqd.task_vector.protocol import SpectralWeights, TaskVector, TensorSource
from cycleqd.task_vector.rows import Blocks, fits_a_block, rows_at_a_time, split
from cycleqd.task_vector.spectrum import noise_blocks, singular_values, standard_noise, stretches


class DenseTaskVector:
    """A task vector as a way to compute each tensor; `save` runs it, tensor by tensor, into a file.

    Merging and mutating a vector only compose such ways, so a child costs memory for a few tensors, however large
    the model. `save` a child before anything else: from then on it reads from its (memory-mapped) file and knows
    its hash, whereas before every `delta` and `hash` computes the merge and the SVD anew.

    ```
    child = parent.combine(0.5, [(0.5, other)]).stretch(...)
    child.save(path)  # the work happens here
    child.hash()      # known already
    ```

    Args:
        shapes: Names and shapes of the parameters.
        compute: Gives the fp32 delta of a name; the result is not changed by anyone.
        blocks: Gives the same delta in consecutive rows, bit for bit, where that takes less memory. Unless given, the
            whole delta is cut.
    """

    def __init__(
        self,
        shapes: Mapping[str, tuple[int, ...]],
        compute: Callable[[str], torch.Tensor],
        blocks: Blocks | None = None,
    ) -> None:
        self._shapes = {name: tuple(shapes[name]) for name in sorted(shapes)}
        self._compute = compute
        self._blocks = blocks
        self._hash: str | None = None

    @classmethod
    def between(cls, base: TensorSource, tuned: TensorSource) -> DenseTaskVector:
        """The fine-tuned parameters minus the base's, in fp32.

        Raises:
            ValueError: Names or shapes differ; later, from `delta`: the difference is not finite.
        """
        if set(base.names()) != set(tuned.names()):
            different = sorted(set(base.names()) ^ set(tuned.names()))
            raise ValueError(f"base and fine-tuned model differ in {len(different)} names: {different[:5]}")
        shapes = {name: tuple(base.shape(name)) for name in base.names()}
        for name, shape in shapes.items():
            if tuple(tuned.shape(name)) != shape:
                raise ValueError(f"{name}: the base has {shape}, the fine-tuned model {tuple(tuned.shape(name))}")

        def difference(name: str, one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
            delta = one.float() - other.float()
            if not delta.isfinite().all():
                raise ValueError(f"{name}: the difference to the base is not finite; the training diverged")
            return delta

        def whole(name: str) -> torch.Tensor:
            return difference(name, tuned.tensor(name), base.tensor(name))

        def blocks(name: str, rows: int) -> Iterator[torch.Tensor]:
            pairs = zip(tuned.blocks(name, rows), base.blocks(name, rows), strict=True)
            return (difference(name, one, other) for one, other in pairs)

        return cls(shapes, whole, blocks)

    @classmethod
    def of(cls, vector: TaskVector) -> DenseTaskVector:
        """Any task vector in dense form."""
        return cls({name: vector.shape(name) for name in vector.names()}, vector.delta, vector.blocks)

    @classmethod
    def load(cls, path: Path) -> DenseTaskVector:
        """Maps what `save` wrote; tensors are read when they are asked for.

        Raises:
            ValueError: The file holds something else.
        """
        file = TensorFile(path)
        if file.metadata.get("form") != "dense":
            raise ValueError(f"{path} holds {file.metadata.get('form', 'a foreign file')!r}, expected 'dense'")
        return cls({name: file.shape(name) for name in file.names()}, file.tensor)

    def names(self) -> tuple[str, ...]:
        """The parameters it covers, sorted."""
        return tuple(self._shapes)

    def shape(self, name: str) -> tuple[int, ...]:
        """The parameter's shape."""
        return self._shapes[name]

    def delta(self, name: str, device: torch.device | None = None) -> torch.Tensor:
        """The parameter's delta, fp32; computed now, or read where the vector was saved or loaded."""
        if name not in self._shapes:
            raise KeyError(name)
        computed = self._compute(name)
        return computed if device is None else computed.to(device)

    def blocks(self, name: str, rows: int) -> Iterator[torch.Tensor]:
        """The parameter's delta in consecutive rows, fp32; see `TaskVector.blocks`."""
        if name not in self._shapes:
            raise KeyError(name)
        if self._blocks is None or fits_a_block(self._shapes[name], rows):
            return split(self.delta(name), rows)
        return self._blocks(name, rows)

    def singular_values(self, name: str) -> torch.Tensor:
        """Singular values of a matrix, descending, fp32; of a stack, a row for each of its matrices."""
        return singular_values(self.delta(name))

    def combine(self, own: float, others: Sequence[tuple[float, TaskVector]]) -> DenseTaskVector:
        """The linear combination own · self + Σ_i c_i τ_i, in fp32, vectors (norms, biases) included.

        Raises:
            ValueError: Names or shapes differ.
        """
        for _, other in others:
            self._check_same_parameters(other)

        coefficients = [coefficient for coefficient, _ in others]
        vectors = [other for _, other in others]

        def combination(first: torch.Tensor, rest: Iterable[torch.Tensor]) -> torch.Tensor:
            total = first * own
            for coefficient, delta in zip(coefficients, rest, strict=True):
                total.add_(delta, alpha=coefficient)
            return total

        def whole(name: str) -> torch.Tensor:
            return combination(self.delta(name), (vector.delta(name) for vector in vectors))

        def blocks(name: str, rows: int) -> Iterator[torch.Tensor]:
            of_all = zip(*(vector.blocks(name, rows) for vector in (self, *vectors)), strict=True)
            return (combination(first, rest) for first, *rest in of_all)

        return DenseTaskVector(self._shapes, whole, blocks)

    def stretch(self, basis: TaskVector, weights: SpectralWeights) -> DenseTaskVector:
        """Adds U diag(w ∘ σ) Vᵀ of each matrix of `basis`; other parameters pass through.

        Raises:
            ValueError: Names or shapes differ.
        """
        self._check_same_parameters(basis)

        def stretched(name: str) -> torch.Tensor:
            delta = self.delta(name)
            if not matrix_names(name, delta.shape):
                return delta
            decomposed = delta if basis is self else basis.delta(name)
            return by_slice(stretched_matrix, name, delta, decomposed)

        def stretched_matrix(name: str, own: torch.Tensor, decomposed: torch.Tensor) -> torch.Tensor:
            u, sigma, vh = torch.linalg.svd(decomposed, full_matrices=False)
            added: torch.Tensor = (u * stretches(sigma, weights(name, len(sigma)))) @ vh
            return own + added

        def blocks(name: str, rows: int) -> Iterator[torch.Tensor]:
            shape = self._shapes[name]
            if not is_stack(shape):
                return split(stretched(name), rows)
            both = (self.blocks(name, rows), self.blocks(name, rows) if basis is self else basis.blocks(name, rows))
            return in_slices(stretched_matrix, name, shape, *both)

        return DenseTaskVector(self._shapes, stretched, blocks)

    def add_noise(self, seed: int, coefficient: float) -> DenseTaskVector:
        """Adds coefficient · N(seed) to every matrix; other parameters pass through."""

        def noisy(name: str) -> torch.Tensor:
            delta = self.delta(name)
            if not matrix_names(name, delta.shape):
                return delta
            return delta + coefficient * standard_noise(seed, name, self._shapes[name])

        def blocks(name: str, rows: int) -> Iterator[torch.Tensor]:
            shape = self._shapes[name]
            if not matrix_names(name, shape):
                return self.blocks(name, rows)
            pairs = zip(self.blocks(name, rows), noise_blocks(seed, name, shape, rows), strict=True)
            return (delta + coefficient * noise for delta, noise in pairs)

        return DenseTaskVector(self._shapes, noisy, blocks)

    def hash(self) -> str:
        """SHA-256 of all deltas, hexadecimal; computes them all unless the vector was saved, then is kept."""
        if self._hash is None:
            content = ContentHash("dense")
            for name in self._shapes:
                for _ in self._hashed(name, content):
                    pass
            self._hash = content.hexdigest()
        return self._hash

    def save(self, path: Path) -> None:
        """Computes and writes block after block, atomically; from then on the vector reads from the file."""
        content = ContentHash("dense")
        write_blocks(path, self._shapes, lambda name: self._hashed(name, content), {"form": "dense"})
        self._hash = content.hexdigest()
        self._compute, self._blocks = TensorFile(path).tensor, None

    def _hashed(self, name: str, content: ContentHash) -> Iterator[torch.Tensor]:
        """The parameter's blocks, each taken into the hash before it is handed out."""
        shape = self._shapes[name]
        content.begin(name, shape)
        for block in self.blocks(name, rows_at_a_time(shape)):
            content.go_on(block)
            yield block

    def _check_same_parameters(self, other: TaskVector) -> None:
        if other.names() != self.names():
            different = sorted(set(other.names()) ^ set(self.names()))
            raise ValueError(f"the task vectors differ in {len(different)} names: {different[:5]}")
        for name, shape in self._shapes.items():
            if other.shape(name) != shape:
                raise ValueError(f"{name}: the task vectors have the shapes {shape} and {other.shape(name)}")
