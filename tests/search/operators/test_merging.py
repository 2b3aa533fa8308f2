import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from cycleqd.seams import MERGE_METHODS
from cycleqd.search.operators.merging import MergeMethod, merge_method
from cycleqd.task_vector import DenseTaskVector, FactoredTaskVector, SharedBases, build_bases, project
from tests.search.operators import dense_merging as dense
from tests.toy_experts import deltas, dense_vector, factored_experts, with_vector

EXPECTED = {
    "linear": (merge_method("linear"), dense.linear),
    "task arithmetic": (
        merge_method("task_arithmetic", scale=0.6),
        lambda m, w: dense.task_arithmetic(m, w, 0.6),
    ),
    "slerp": (merge_method("slerp", scale=1.2), lambda m, w: dense.slerp(m, w, 1.2)),
    "tsv": (merge_method("tsv", scale=0.85), lambda m, w: dense.tsv(m, w, 0.85)),
    "iso-c": (merge_method("iso_c", scale=0.8), lambda m, w: dense.iso_c(m, w, 0.8, 1.0)),
    "iso-c, half": (
        merge_method("iso_c", scale=0.8, flattening=0.5),
        lambda m, w: dense.iso_c(m, w, 0.8, 0.5),
    ),
    "knots": (merge_method("knots", density=0.4, scale=0.9), lambda m, w: dense.knots_both(m, w, 0.4, 0.9)),
    "knots, left": (
        merge_method("knots", density=0.4, scale=0.9, alignment="left"),
        lambda m, w: dense.knots_left(m, w, 0.4, 0.9),
    ),
    "ties": (merge_method("ties", density=0.3, scale=0.7), lambda m, w: dense.ties(m, w, 0.3, 0.7)),
}
ALL = {name: method for name, (method, _) in EXPECTED.items()} | {"dare": merge_method("dare", drop=0.3, seed=5)}
EXACT = {name: method for name, method in ALL.items() if method.exact_on_cores}


def random_matrices(seed: int, m: int, n: int, ranks: list[int]) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(m, r)) @ rng.normal(size=(r, n)) / math.sqrt(max(r, 1)) for r in ranks]


def as_factored(matrices: list[np.ndarray]) -> list[FactoredTaskVector]:
    """The same matrices as LoRA experts over shared bases."""
    factors = {}
    for number, matrix in enumerate(matrices):
        u, s, vh = np.linalg.svd(matrix, full_matrices=False)
        rank = max(1, int((s > 1e-10 * max(s[0], 1e-300)).sum()))
        b, a = (u[:, :rank] * s[:rank]), vh[:rank]
        factors[str(number)] = {"w": (torch.from_numpy(a.copy()), torch.from_numpy(b.copy()), 1.0)}
    experts = build_bases(factors)[1]
    return [experts[str(number)] for number in range(len(matrices))]


def as_dense(matrices: list[np.ndarray]) -> list[DenseTaskVector]:
    return [dense_vector({"w": torch.from_numpy(matrix.astype(np.float32))}) for matrix in matrices]


def well_conditioned(matrices: list[np.ndarray]) -> bool:
    """Whether rounding the vectors to fp32 leaves the singular vectors, and what is built on them, where they are."""
    if not any(matrix.any() for matrix in matrices):
        return True
    bases = [dense.svd(matrix) for matrix in matrices if matrix.any()]
    keep = max(1, min(matrices[0].shape) // len(matrices))
    stacks = [np.concatenate([base[side][:, :keep] for base in bases], axis=1) for side in (0, 2)]
    joined = [np.concatenate(matrices, axis=axis) for axis in (0, 1)]
    spectra = [np.linalg.svd(x, compute_uv=False) for x in [*stacks, *joined, sum(matrices), *matrices]]
    for s in spectra:
        s = s[s > 1e-9 * s[0]] if s[0] > 0 else s[:0]
        gaps = np.abs(np.diff(s)) if len(s) > 1 else np.ones(1)
        if len(s) and (s[-1] < 0.02 * s[0] or gaps.min() < 2e-3 * s[0]):
            return False
    return True


@st.composite
def problems(draw):
    m, n = draw(st.integers(2, 14)), draw(st.integers(2, 14))
    ranks = draw(st.lists(st.integers(0, 4), min_size=1, max_size=4))
    weights = draw(st.lists(st.floats(0.2, 2.0), min_size=len(ranks), max_size=len(ranks)))
    return draw(st.integers(0, 2**20)), m, n, ranks, weights


def close(actual: torch.Tensor, expected: np.ndarray, matrices: list[np.ndarray]) -> None:
    scale = max([float(np.linalg.norm(matrix)) for matrix in matrices] + [1e-30])
    assert float(np.linalg.norm(actual.double().numpy() - expected)) <= 1e-5 * scale


@pytest.mark.parametrize("name", EXPECTED)
@settings(max_examples=60, deadline=None, derandomize=True)
@given(problem=problems())
@example(problem=(1, 9, 7, [2, 2, 2], [1.0, 1.0, 1.0]))
@example(problem=(2, 40, 50, [4, 4, 4], [1.0, 1.0, 1.0]))
@example(problem=(3, 5, 6, [0, 0], [1.0, 1.0]))
@example(problem=(4, 6, 5, [3, 0, 2, 1], [1.0, 1.0, 1.0, 1.0]))
@example(problem=(5, 8, 8, [3], [1.0]))
def test_both_forms_agree_with_plain_dense_arithmetic(name, problem):
    method, expected = EXPECTED[name]
    seed, m, n, ranks, weights = problem
    matrices = random_matrices(seed, m, n, ranks)
    assume(well_conditioned(matrices))
    # What the vectors hold after their rounding to fp32 is what is merged.
    factored, plain = as_factored(matrices), as_dense(matrices)
    merged = method.merge(factored, weights)
    assert isinstance(merged, FactoredTaskVector if method.exact_on_cores else DenseTaskVector)
    close(merged.delta("w"), expected(matrices, weights), matrices)
    close(method.merge(plain, weights).delta("w"), expected(matrices, weights), matrices)


@pytest.mark.parametrize("name", EXACT)
def test_exact_methods_agree_on_every_awkward_shape_of_a_model(name):
    experts = list(factored_experts(3).values())
    on_cores = deltas(EXACT[name].merge(experts))
    on_matrices = deltas(EXACT[name].merge([DenseTaskVector.of(expert) for expert in experts]))
    for parameter, delta in on_cores.items():
        torch.testing.assert_close(delta, on_matrices[parameter], rtol=0, atol=2e-5, msg=parameter)


@pytest.mark.parametrize("name", [name for name in ALL if name not in ("ties", "knots", "knots, left", "dare")])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_equal_vectors_merge_to_themselves_at_weights_that_sum_to_one(name, count):
    method = ALL[name]
    if name.startswith("iso-c"):
        method = merge_method("iso_c", flattening=0.0)
    scale = getattr(method, "scale", 1.0)
    expert = factored_experts(1)["os"]
    merged = method.merge([expert] * count, [1 / count] * count)
    for parameter in expert.names():
        if name == "tsv" and min(expert.shape(parameter)) // count < 3:
            continue  # of a matrix this narrow it keeps fewer directions than the expert has
        torch.testing.assert_close(
            merged.delta(parameter), scale * expert.delta(parameter), rtol=0, atol=1e-5, msg=parameter
        )


@pytest.mark.parametrize("name", ALL)
def test_zero_vectors_merge_to_zero(name):
    zeros = [expert.combine(0.0, []) for expert in factored_experts(1).values()]
    for delta in deltas(ALL[name].merge(zeros)).values():
        assert not delta.any()


@pytest.mark.parametrize("name", ALL)
def test_a_merge_is_the_same_when_made_again(name):
    experts = list(factored_experts(2).values())
    first, second = (ALL[name].merge(experts, [0.5, 1.0, 0.7]) for _ in range(2))
    assert first.hash() == second.hash()


@pytest.mark.parametrize("name", [name for name in ALL if "slerp" not in name and name != "dare"])
def test_the_order_of_the_vectors_does_not_matter(name):
    experts = list(factored_experts(2).values())
    forth, back = (deltas(ALL[name].merge(order)) for order in (experts, experts[::-1]))
    for parameter, delta in forth.items():
        torch.testing.assert_close(delta, back[parameter], rtol=0, atol=1e-5, msg=parameter)


@pytest.mark.parametrize("name", [name for name in ALL if name != "linear"])
def test_scale_is_a_factor_on_the_result(name):
    method = ALL[name]
    experts = [dense_vector(with_vector(deltas(expert), 7)) for expert in factored_experts(2).values()]
    one, two = (deltas(dataclasses.replace(method, scale=scale).merge(experts)) for scale in (0.5, 1.0))
    for parameter in one:
        torch.testing.assert_close(2 * one[parameter], two[parameter], rtol=1e-5, atol=1e-6, msg=parameter)


def test_vectors_that_are_not_matrices_have_their_stated_rule():
    experts = [
        dense_vector(with_vector(deltas(expert), seed)) for seed, expert in enumerate(factored_experts(2).values())
    ]
    norms = torch.stack([expert.delta("norm.weight") for expert in experts])
    for name in ("tsv", "iso-c", "knots", "knots, left"):
        merged = ALL[name].merge(experts, [1.0, 1.0, 2.0]).delta("norm.weight")
        mean = (norms[0] + norms[1] + 2 * norms[2]) / 4
        torch.testing.assert_close(merged, ALL[name].scale * mean, msg=name)
    torch.testing.assert_close(ALL["task arithmetic"].merge(experts).delta("norm.weight"), 0.6 * norms.sum(0))
    expected = dense.ties([norm.double().numpy() for norm in norms], [1, 1, 1], 0.3, 0.7)
    torch.testing.assert_close(ALL["ties"].merge(experts).delta("norm.weight"), torch.from_numpy(expected).float())
    expected = dense.slerp([norm.double().numpy() for norm in norms], [1, 1, 1], 1.2)
    torch.testing.assert_close(ALL["slerp"].merge(experts).delta("norm.weight"), torch.from_numpy(expected).float())


def test_tsv_takes_apart_what_a_sum_mixes():
    # Two experts that write along overlapping directions: afterwards neither reads what the other wrote.
    u1, u2 = np.array([1.0, 0, 0, 0]), np.array([0.8, 0.6, 0, 0])
    v1, v2 = np.array([1.0, 0, 0, 0]), np.array([0.6, 0.8, 0, 0])
    merged = merge_method("tsv").merge(as_dense([np.outer(u1, v1), np.outer(u2, v2)])).delta("w")
    torch.testing.assert_close(torch.linalg.svdvals(merged), torch.tensor([1.0, 1.0, 0.0, 0.0]), atol=1e-5, rtol=0)


def test_full_flattening_leaves_one_singular_value():
    matrices = random_matrices(0, 9, 8, [2, 2])
    merged = merge_method("iso_c").merge(as_factored(matrices)).delta("w").double()
    sigma = np.linalg.svd(sum(matrices), compute_uv=False)[:4]
    found = torch.linalg.svdvals(merged)
    torch.testing.assert_close(found[:4], torch.full((4,), sigma.mean(), dtype=torch.float64), rtol=1e-5, atol=0)
    assert float(found[4:].max()) < 1e-5


def test_dare_keeps_the_expectation_and_follows_its_seed():
    ones = [dense_vector({"w": torch.ones(200, 300)}), dense_vector({"w": torch.ones(200, 300)})]
    first, again, other = (merge_method("dare", drop=0.75, seed=seed).merge(ones).delta("w") for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert set(first.unique().tolist()) == {0.0, 4.0, 8.0}  # both vectors are thinned, each its own way
    assert float(first.mean()) == pytest.approx(2.0, abs=0.05)


def test_dare_that_drops_nothing_is_task_arithmetic():
    experts = list(factored_experts(2).values())
    thinned = deltas(merge_method("dare", drop=0.0, scale=0.6).merge(experts))
    for parameter, delta in deltas(ALL["task arithmetic"].merge(experts)).items():
        torch.testing.assert_close(thinned[parameter], delta)


@pytest.mark.parametrize("name", ["ties", "dare", "knots, left"])
def test_what_leaves_the_bases_comes_back_with_its_loss_stated(name):
    experts = list(factored_experts(4, rank=2).values())
    merged = ALL[name].merge(experts)
    nearest, residual = project(merged, experts[0].bases)
    lost = total = 0.0
    for parameter in merged.names():
        lost += float((merged.delta(parameter) - nearest.delta(parameter)).square().sum())
        total += float(merged.delta(parameter).square().sum())
    assert residual == pytest.approx(math.sqrt(lost / total), rel=1e-4)
    assert 0 < residual < 1
    again = project(nearest, experts[0].bases)
    assert again.residual < 1e-6
    assert math.isclose(project(nearest.combine(0.0, []), experts[0].bases).residual, 0.0)


def test_a_projection_needs_the_same_parameters():
    expert = factored_experts(1)["os"]
    with pytest.raises(ValueError, match="differ in 1 names"):
        project(dense_vector(with_vector(deltas(expert), 0)), expert.bases)


@pytest.mark.parametrize("name", ["tsv", "iso-c", "knots", "slerp"])
def test_noise_has_no_core_and_is_refused(name):
    experts = list(factored_experts(1).values())
    with pytest.raises(ValueError, match="noise"):
        ALL[name].merge([experts[0], experts[1].add_noise(3, 0.1)])


@pytest.mark.parametrize("name", ALL)
def test_vectors_that_do_not_fit_together_are_refused(name):
    experts = list(factored_experts(1).values())
    other = dense_vector({"elsewhere": torch.zeros(2, 2)})
    with pytest.raises(ValueError, match=r"factored|differ in"):
        deltas(ALL[name].merge([DenseTaskVector.of(experts[0]), other]))
    with pytest.raises(ValueError, match="at least one"):
        ALL[name].merge([])
    with pytest.raises(ValueError, match="one weight per"):
        ALL[name].merge(experts, [1.0])
    with pytest.raises(ValueError, match="sum to zero"):
        ALL[name].merge(experts, [0.0, 1.0, -1.0])
    with pytest.raises(ValueError, match="finite"):
        ALL[name].merge(experts, [math.nan, 1.0, 1.0])


def test_vectors_on_other_bases_are_refused():
    one, two = factored_experts(1)["os"], factored_experts(2)["os"]
    with pytest.raises(ValueError, match="different bases"):
        ALL["tsv"].merge([one, two])


@pytest.mark.parametrize(
    ("name", "settings_"),
    [("tsv", {"scale": math.inf}), ("iso_c", {"flattening": 1.5}), ("ties", {"density": 0.0}), ("dare", {"drop": 1.0}),
     ("dare", {"seed": -1}), ("knots", {"density": 2.0}), ("knots", {"alignment": "right"}),
     ("task_arithmetic", {"scale": math.nan}), ("slerp", {"scale": math.nan}), ("nothing", {})],
)  # fmt: skip
def test_settings_out_of_range_are_refused(name, settings_):
    with pytest.raises(ValueError, match=r"must be|no merge method"):
        merge_method(name, **settings_)


def test_every_row_has_a_class_and_a_source():
    for name, row in MERGE_METHODS.items():
        method: MergeMethod = merge_method(name)
        assert callable(method.merge)
        assert isinstance(method.exact_on_cores, bool)
        assert "https://" in row.source
    assert {name for name in MERGE_METHODS if merge_method(name).exact_on_cores} == {
        "linear", "task_arithmetic", "slerp", "tsv", "iso_c", "knots",
    }  # fmt: skip


def test_dense_merges_do_no_work_before_they_are_asked():
    def refuse(name):
        raise AssertionError("computed too early")

    lazy = [DenseTaskVector({"w": (3, 3)}, refuse) for _ in range(2)]
    for method in ALL.values():
        method.merge(lazy)


def test_shared_bases_are_kept():
    experts = list(factored_experts(1).values())
    merged = ALL["tsv"].merge(experts)
    assert isinstance(merged, FactoredTaskVector)
    assert isinstance(merged.bases, SharedBases)
    assert merged.bases is experts[0].bases


@pytest.mark.parametrize("name", ALL)
def test_a_stack_of_matrices_is_merged_as_if_they_were_apart(name):
    generator = torch.Generator().manual_seed(3)
    stacks = [torch.randn(3, 5, 7, generator=generator) for _ in range(2)]
    together = ALL[name].merge([dense_vector({"w": stack}) for stack in stacks], [0.4, 0.9])
    apart = [dense_vector({f"w[{i}]": matrix for i, matrix in enumerate(stack)}) for stack in stacks]
    merged = ALL[name].merge(apart, [0.4, 0.9])
    assert torch.equal(together.delta("w"), torch.stack([merged.delta(f"w[{i}]") for i in range(3)]))


@pytest.mark.parametrize("shape", [(1, 5, 7), (6, 1, 4), (2, 3, 2, 2)])
def test_other_parameters_of_more_dimensions_are_averaged(shape):
    tensors = [torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in range(2)]
    merged = merge_method("tsv").merge([dense_vector({"w": tensor}) for tensor in tensors])
    torch.testing.assert_close(merged.delta("w"), sum(tensors) / 2)
