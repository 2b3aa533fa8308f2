"""Each expert's share of a merge that keeps what the experts' own inputs lead to."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from cycleqd.experts.input_moments import Moments
from cycleqd.task_vector import LoraFactors
from cycleqd.task_vector.threads import one_thread

_RIDGE = 1e-6
"""Added to the diagonal, whose mean is 1 for each expert; makes moments of inputs that are always zero invertible."""


def regmean_parts(
    experts: Mapping[str, Mapping[str, LoraFactors]], moments: Mapping[str, Moments], *, shrinkage: float = 0.01
) -> dict[str, dict[str, LoraFactors]]:
    """The summands of RegMean (Jin et al. 2023, https://arxiv.org/abs/2212.09849), one for each expert.

    RegMean is the matrix τ with the least Σ_k E‖(τ − τ_k) x_k‖², where x_k is what expert k reads on its own task. It
    is Σ_k τ_k G_k (Σ_j G_j)⁻¹ with the moments G_k = E[x_k x_kᵀ]. So a merge need not choose between experts whose
    inputs differ. A summand is of its expert's rank, B_k (A_k G_k (Σ_j G_j)⁻¹), and any weighted sum of them is a
    merge.

    Of a matrix without moments the summand is the expert's own change divided by the number of experts: then any
    weighted sum is one of plain shares, as in the paper for parameters that are no linear layers.

    As in the paper the entries off the diagonal are shrunk. Ours: moments are divided by their mean variance first, so
    that no expert counts more because its layers read larger numbers.

    Args:
        experts: LoRA factors by skill and parameter name. An expert without a matrix has a zero there.
        moments: Of each skill's inputs, for the matrices that could be measured: the same for all skills.
        shrinkage: How much smaller entries off the diagonal become, in [0, 1]; 1 leaves the diagonal alone.

    Returns:
        Factors by skill and parameter name, fp32, with scale 1.
    """
    if not 0 <= shrinkage <= 1:
        raise ValueError(f"shrinkage must be in [0, 1], got {shrinkage}")
    parts: dict[str, dict[str, LoraFactors]] = {skill: {} for skill in experts}
    with one_thread():
        for name in sorted({name for factors in experts.values() for name in factors}):
            if any(name not in moments[skill] for skill in experts):
                for skill, factors in experts.items():
                    if name in factors:
                        a, b, scale = factors[name]
                        parts[skill][name] = LoraFactors((scale / len(experts) * a).float(), b.float(), 1.0)
                continue
            shrunk = {skill: _shrunk(moments[skill][name].double(), shrinkage) for skill in experts}
            total = torch.stack(list(shrunk.values())).sum(0)
            total += _RIDGE * torch.eye(len(total), dtype=total.dtype)
            factor = torch.linalg.cholesky(total)
            for skill, factors in experts.items():
                if name in factors:
                    a, b, scale = factors[name]
                    right = torch.cholesky_solve(shrunk[skill] @ a.T.double(), factor).T
                    parts[skill][name] = LoraFactors((scale * right).float().contiguous(), b.float(), 1.0)
    return parts


def _shrunk(moments: torch.Tensor, shrinkage: float) -> torch.Tensor:
    diagonal = moments.diagonal()
    variance = diagonal.mean()
    if variance <= 0:
        return moments
    shrunk: torch.Tensor = ((1 - shrinkage) * moments + shrinkage * torch.diag(diagonal)) / variance
    return shrunk
