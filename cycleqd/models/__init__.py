"""What holds weights and plays: a package for each kind of model.

`causal_lm` has the engines that generate text. `hardware` says in which numbers this machine computes.

Public: `causal_lm.open_engine` and its protocol `Engine`; `hardware.pinned`.
"""
