"""The operators by name."""

from __future__ import annotations

from cycleqd.seams.table import Row, SeamTable

_OPERATORS = "cycleqd.search.operators"
_MERGING = f"{_OPERATORS}.merging"
_CYCLEQD = "CycleQD, https://arxiv.org/abs/2410.14735"

SAMPLERS = SeamTable(
    "sampler",
    {
        "elite": Row(f"{_OPERATORS}.sampling:EliteSampling", f"{_CYCLEQD}, elite sampling"),
        "random": Row(f"{_OPERATORS}.sampling:RandomSampling", f"{_CYCLEQD}, the ablation"),
    },
)
"""Fulfil `cycleqd.search.operators.Sampler`; settings from the section ``sampling``."""

MERGE_METHODS = SeamTable(
    "merge method",
    {
        "linear": Row(f"{_MERGING}.linear:Linear", _CYCLEQD),
        "task_arithmetic": Row(
            f"{_MERGING}.task_arithmetic:TaskArithmetic", "Ilharco et al. 2023, https://arxiv.org/abs/2212.04089"
        ),
        "slerp": Row(f"{_MERGING}.slerp:Slerp", "Shoemake 1985, https://doi.org/10.1145/325334.325242"),
        "ties": Row(f"{_MERGING}.ties:Ties", "Yadav et al. 2023, https://arxiv.org/abs/2306.01708", {"density": 0.2}),
        "dare": Row(f"{_MERGING}.dare:Dare", "Yu et al. 2024, https://arxiv.org/abs/2311.03099", {"drop": 0.5}),
        "tsv": Row(f"{_MERGING}.tsv:TsvMerge", "Gargiulo et al. 2024, https://arxiv.org/abs/2412.00081"),
        "iso_c": Row(
            f"{_MERGING}.iso_c:IsoC", "Marczak et al. 2025, https://arxiv.org/abs/2502.04959", {"flattening": 0.5}
        ),
        "knots": Row(
            f"{_MERGING}.knots:Knots", "Stoica et al. 2024, https://arxiv.org/abs/2410.19735", {"density": 0.2}
        ),
    },
)
"""Fulfil `cycleqd.search.operators.merging.MergeMethod`; settings from an entry of ``baselines`` or from the section
``crossover``. All but ``linear`` have a ``scale``; one that has a ``seed`` gets another for each child."""

SCALED_MERGES = tuple(name for name in MERGE_METHODS if name != "linear")
"""Merge methods that a configuration can name: ``linear`` is the plain average, which is always compared, and as a
crossover it is the paper's own."""

BASELINES = SeamTable(
    "baseline",
    {name: MERGE_METHODS[name] for name in SCALED_MERGES}
    | {
        "regmean": Row(
            f"{_MERGING}.task_arithmetic:TaskArithmetic", "Jin et al. 2023, https://arxiv.org/abs/2212.09849"
        )
    },
)
"""Merges of the experts without a search. ``regmean`` sums the experts' shares of RegMean (`cycleqd.experts.regmean`),
the others are functions of the experts."""

CROSSOVERS = SeamTable(
    "crossover",
    {"linear": Row(f"{_OPERATORS}.crossover:LinearCrossover", f"{_CYCLEQD}, model merging as crossover")}
    | {name: Row(f"{_OPERATORS}.crossover:MergeCrossover", MERGE_METHODS[name].source) for name in SCALED_MERGES},
)
"""Fulfil `cycleqd.search.operators.Crossover`; settings from the section ``crossover``. Every merge method is one."""

MUTATIONS = SeamTable(
    "mutation",
    {
        "svd": Row(f"{_OPERATORS}.mutation:SvdMutation", f"{_CYCLEQD}, SVD-based mutation"),
        "gaussian": Row(f"{_OPERATORS}.mutation:GaussianMutation", f"{_CYCLEQD}, the ablation"),
        "none": Row(f"{_OPERATORS}.mutation:NoMutation", f"{_CYCLEQD}, the ablation"),
    },
)
"""Fulfil `cycleqd.search.operators.Mutation`; settings from the section ``mutation``."""

AGGREGATIONS = SeamTable(
    "aggregation",
    {"softmax": Row(f"{_OPERATORS}.aggregation:SoftmaxAggregation", f"{_CYCLEQD}, model aggregation")},
)
"""Fulfil `cycleqd.search.operators.Aggregation`; settings from the section ``aggregation``."""
