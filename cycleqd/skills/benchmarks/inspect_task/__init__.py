"""Tasks of inspect_ai (https://inspect.aisi.org.uk) as skills.

inspect_ai runs in a process of its own (`worker`, started by `client`): it plays one task at a time in a process, its
solvers are asynchronous, and it may live in another environment than this package (`client.PYTHON_VARIABLE`).
`games` plays samples of a task there: it turns a solver that asks for replies into an episode that is given replies,
so that strict rounds, other engines and replays work as for any skill. `boxes` has the containers, which are this
project's own. `skill` is the skill.
"""
