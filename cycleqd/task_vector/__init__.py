"""Task vectors: an individual's parameters minus the base's, θ = θ0 + τ.

Three forms behind one protocol. A `FactoredTaskVector` is what LoRA experts and all their descendants need: small
cores between `SharedBases` that the whole run shares. A `SpectralTaskVector` is for fully fine-tuned experts that are
merged linearly: coefficients and offsets on `SpectralBases`, the experts' own singular vectors. A `DenseTaskVector`
takes anything, tensor by tensor from disk. All compute in fp32 and are exact.

Public: the `TaskVector` protocol and the forms; `build_bases` and `read_lora_adapter` to get from LoRA experts to
task vectors; `load_task_vector`; `weighted_sum`; `project`, which brings a dense vector back
to shared bases; `to_lora` and `save_lora_adapter` to serve an individual as an adapter, `adapter_base` to find its
base again. `cycleqd.models.causal_lm.merging` makes the parameters θ.
"""

from cycleqd.task_vector.bases import LoraFactors, SharedBases
from cycleqd.task_vector.dense import DenseTaskVector
from cycleqd.task_vector.factored import FactoredTaskVector, build_bases
from cycleqd.task_vector.lora import adapter_base, read_lora_adapter, save_lora_adapter, to_lora
from cycleqd.task_vector.projection import Projection, project
from cycleqd.task_vector.protocol import SpectralWeights, TaskVector, TensorSource
from cycleqd.task_vector.spectral import SpectralBases, SpectralTaskVector, write_decomposition
from cycleqd.task_vector.weights import load_task_vector, weighted_sum

__all__ = [
    "DenseTaskVector",
    "FactoredTaskVector",
    "LoraFactors",
    "Projection",
    "SharedBases",
    "SpectralBases",
    "SpectralTaskVector",
    "SpectralWeights",
    "TaskVector",
    "TensorSource",
    "adapter_base",
    "build_bases",
    "load_task_vector",
    "project",
    "read_lora_adapter",
    "save_lora_adapter",
    "to_lora",
    "weighted_sum",
    "write_decomposition",
]
