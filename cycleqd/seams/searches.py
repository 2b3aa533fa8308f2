"""The searches by name."""

from __future__ import annotations

from cycleqd.seams.table import Row, SeamTable

SEARCHES = SeamTable(
    "search",
    {
        "cycleqd": Row("cycleqd.search.cycleqd:CycleQD", "CycleQD, algorithm 1, https://arxiv.org/abs/2410.14735"),
        "qd": Row("cycleqd.search.cycleqd:ConventionalQD", "CycleQD, Table 2, row 1"),
        "random": Row("cycleqd.search.random_search:RandomSearch", "the floor of any search"),
        "cma_es": Row("cycleqd.search.cma_es:CmaEs", "Hansen 2016; CycleQD, Table 1, row 9"),
        "nsga2": Row("cycleqd.search.nsga2:Nsga2", "Deb et al. 2002; CycleQD, Table 1, row 10"),
        "policy_gradient": Row(
            "cycleqd.search.policy_gradient:PolicyGradient", "Williams 1992; our reading of CycleQD, Table 1, row 8"
        ),
        "surrogate": Row("cycleqd.search.surrogate:SurrogateSearch", "ours, after Gaier et al. 2018"),
        "rescoring": Row("cycleqd.search.rescoring:Rescoring", "no search: what refinement gains without one"),
    },
    group="cycleqd.searches",
    methods=("ask", "tell", "answer"),
)
"""Fulfil `cycleqd.search.Search`. A class is called with a `cycleqd.search.Start` and, by name, with what it asks for:
settings of the configuration's section ``search``, the operators (``sampler``, ``crossover``, ``mutation``,
``aggregation``), ``elites``, and the ``combination`` of the experts."""
