"""The seams of the search and of training: one table each of what can be chosen by name.

A row says where a class is (``module:Class``) and where it comes from. Nothing is imported until a row is chosen, so
that the configuration can know all names and stay light. A new operator is a file with its class and a row here. Its
settings are the parameters of its constructor: the configuration's section takes them under the same names.

* `SEARCHES`: what decides which child comes next. Other packages add theirs under the entry-point group
  ``cycleqd.searches``, and a configuration may also name a class as ``module:Class``.
* `SAMPLERS`: which two individuals of an archive become parents.
* `CROSSOVERS`: how two task vectors become a child's.
* `MERGE_METHODS`: functions of several task vectors to one, used as crossovers and as baselines.
* `BASELINES`: merges of the experts without a search, which the report compares the final model with.
* `MUTATIONS`: how a child's task vector is changed at random.
* `AGGREGATIONS`: how the archives' elites become one model.
* `EXPERT_SOURCES`: where an expert comes from: trained here, an adapter, a checkpoint.
* `TRAINERS`: who fine-tunes experts.
* `EVALUATORS`: where children are scored, when that is not the run's own process.
* `TRACKERS`: who else gets what a run measures.
* `RECIPES`: how a row of a data set becomes a conversation to train on.

The table of skills is `cycleqd.skills.registry`.

Public: these and `Row`, `SeamTable`.
"""

from cycleqd.seams.evaluators import EVALUATORS
from cycleqd.seams.expert_sources import EXPERT_SOURCES
from cycleqd.seams.operators import AGGREGATIONS, BASELINES, CROSSOVERS, MERGE_METHODS, MUTATIONS, SAMPLERS
from cycleqd.seams.searches import SEARCHES
from cycleqd.seams.table import Row, SeamTable
from cycleqd.seams.trackers import TRACKERS
from cycleqd.seams.trainers import TRAINERS
from cycleqd.seams.training_data import RECIPES

__all__ = [
    "AGGREGATIONS",
    "BASELINES",
    "CROSSOVERS",
    "EVALUATORS",
    "EXPERT_SOURCES",
    "MERGE_METHODS",
    "MUTATIONS",
    "RECIPES",
    "SAMPLERS",
    "SEARCHES",
    "TRACKERS",
    "TRAINERS",
    "Row",
    "SeamTable",
]
