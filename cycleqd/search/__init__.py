"""Searches: which individual comes next, what its scores mean, and which model is the answer.

A `Search` is asked for a `Recipe` by index, is told the scores of the individual that was made of it, and in the end
gives the recipe of the final model. It knows ids and scores, no tensors, no engines, no files:

```
search = build_search(config, Start(seed, budget, archives, experts))
recipe = search.ask(0)
...                                   # `make` its task vector, evaluate it on every skill
won = search.tell(0, "g0000", scores)
final = search.answer()
```

Public: the protocol with `Recipe`, `Start` and `Known`; `SEARCHES`, the table of all searches; `build_search`; `make`.
"""

from cycleqd.seams import SEARCHES
from cycleqd.search.build import build_combination, build_mutation, build_search
from cycleqd.search.cycleqd import ConventionalQD, CycleQD, final_elites
from cycleqd.search.protocol import Known, Recipe, Search, Start
from cycleqd.search.recipes import make

__all__ = [
    "SEARCHES",
    "ConventionalQD",
    "CycleQD",
    "Known",
    "Recipe",
    "Search",
    "Start",
    "build_combination",
    "build_mutation",
    "build_search",
    "final_elites",
    "make",
]
