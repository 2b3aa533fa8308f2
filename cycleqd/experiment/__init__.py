"""Experiments: several methods on several seeds at an equal budget, and the table that compares them.

`plan` says which runs an experiment has, and `schedule` in which order they begin where several are played side by
side. `sharing` gives the runs of one seed the same experts, and `siblings` says which runs can give theirs. `results`
pools what the runs measured over seeds and samples; `tables` writes it down. The flow `flows.experiment` plays the
runs.
"""
