"""Prefect tasks: thin, named, retriable wrappers around `cycleqd.steps`.

Tasks exchange references (storage, run id, individual id, skill, split) and small results, never tensors; the things
themselves live in the process' workspace. Infrastructure faults are retried, wrong answers never.
"""
