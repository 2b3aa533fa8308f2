"""Experiments: several methods on several seeds at an equal budget, and the table that compares them.

`plan` says which runs an experiment has; `sharing` gives the runs of one seed the same experts; `results` pools what
the runs measured over seeds and samples; `tables` writes it down. The flow `flows.experiment` plays the runs.
"""
