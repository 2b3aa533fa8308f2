"""How long a run would take with another number of evaluators: a simulation fed with what children of a run took.

* `traces`: what the children of a run took, from its records; or one child made of given figures.
* `simulation`: the search as a discrete-event simulation.
* `planning`: runs it several times and sums up, with everything that was assumed.

Public: `Trace`, `Plan`, `plan`, `traces_of`.
"""

from cycleqd.planning.planning import Plan, plan
from cycleqd.planning.traces import Trace, traces_of

__all__ = ["Plan", "Trace", "plan", "traces_of"]
