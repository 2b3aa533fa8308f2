"""Skills: abilities of a model with a score in [0, 1], measured by letting it act in a sandbox.

A skill has samples in disjoint splits, opens an episode per sample, and judges the episode's end. The demo suites
are generated here from seeded templates; each sample has a gold solution, and the test split also holds templates
that no other split has seen. Benchmarks read a file (`cycleqd.skills.benchmarks.benchmark`) and split it in halves.

The modules: `registry` is the table of all skills, `protocol` says what a skill is, `building` makes one, `oracle` has
agents that play without a model. Nothing is imported here: a configuration reads the table, and needs no sandboxes.
"""
