"""Where children are scored, when that is not the process which breeds them.

The coordinator holds the run's lease, breeds and commits. *Evaluators* are other processes, each with one warm engine
(`cycleqd.evaluation.evaluator`): they take one child at a time, and write content-addressed evaluations. They are
plain Python. Prefect knows of one task per child, in the coordinator, so no evaluator needs a Prefect server.

* `processes`: processes of this machine.
* `dask_cluster`: workers of a Dask cluster.
* `ray_cluster`: actors of a Ray cluster.
* `dispatch`: whoever is free gets the next child, where the cluster does not see to that.
* `memory`: whether their engines fit into this machine.

Public: `Evaluators`, `Outcome`, `EvaluatorLost`, `EvaluatorsMissing`, `open_evaluators`.
"""

from cycleqd.evaluators.opening import open_evaluators
from cycleqd.evaluators.protocol import EvaluatorLost, Evaluators, EvaluatorsMissing, Outcome

__all__ = ["EvaluatorLost", "Evaluators", "EvaluatorsMissing", "Outcome", "open_evaluators"]
