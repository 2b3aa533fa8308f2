"""Task vectors of any kind, computed and stored tensor by tensor."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

from cycleqd.task_vector.files import ContentHash, TensorFile, write_tensors
from cycleqd.task_vector.matrices import by_slice, matrix_names
from cycleqd.task_vector.protocol import SpectralWeights, TaskVector, TensorSource
from cycleqd.task_vector.spectrum import singular_values, standard_noise, stretches


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
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], compute: Callable[[str], torch.Tensor]) -> None:
        self._shapes = {name: tuple(shapes[name]) for name in sorted(shapes)}
        self._compute = compute
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

        def difference(name: str) -> torch.Tensor:
            delta = tuned.tensor(name).float() - base.tensor(name).float()
            if not delta.isfinite().all():
                raise ValueError(f"{name}: the difference to the base is not finite; the training diverged")
            return delta

        return cls(shapes, difference)

    @classmethod
    def of(cls, vector: TaskVector) -> DenseTaskVector:
        """Any task vector in dense form."""
        return cls({name: vector.shape(name) for name in vector.names()}, vector.delta)

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

    def delta(self, name: str) -> torch.Tensor:
        """The parameter's delta, fp32; computed now, or read where the vector was saved or loaded."""
        if name not in self._shapes:
            raise KeyError(name)
        return self._compute(name)

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

        def combination(name: str) -> torch.Tensor:
            total = self.delta(name) * own
            for coefficient, other in others:
                total.add_(other.delta(name), alpha=coefficient)
            return total

        return DenseTaskVector(self._shapes, combination)

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

        return DenseTaskVector(self._shapes, stretched)

    def add_noise(self, seed: int, coefficient: float) -> DenseTaskVector:
        """Adds coefficient · N(seed) to every matrix; other parameters pass through."""

        def noisy(name: str) -> torch.Tensor:
            delta = self.delta(name)
            if not matrix_names(name, delta.shape):
                return delta
            return delta + coefficient * standard_noise(seed, name, self._shapes[name])

        return DenseTaskVector(self._shapes, noisy)

    def hash(self) -> str:
        """SHA-256 of all deltas, hexadecimal; computes them all unless the vector was saved, then is kept."""
        if self._hash is None:
            content = ContentHash("dense")
            for name in self._shapes:
                content.add(name, self.delta(name))
            self._hash = content.hexdigest()
        return self._hash

    def save(self, path: Path) -> None:
        """Computes and writes tensor after tensor, atomically; from then on the vector reads from the file."""
        content = ContentHash("dense")

        def counted(name: str) -> torch.Tensor:
            delta = self.delta(name)
            content.add(name, delta)
            return delta

        write_tensors(path, self._shapes, counted, {"form": "dense"})
        self._hash = content.hexdigest()
        self._compute = TensorFile(path).tensor

    def _check_same_parameters(self, other: TaskVector) -> None:
        if other.names() != self.names():
            different = sorted(set(other.names()) ^ set(self.names()))
            raise ValueError(f"the task vectors differ in {len(different)} names: {different[:5]}")
        for name, shape in self._shapes.items():
            if other.shape(name) != shape:
                raise ValueError(f"{name}: the task vectors have the shapes {shape} and {other.shape(name)}")
