"""Prefect tasks: thin, named, retriable wrappers around `cycleqd.steps`.

Tasks exchange references (storage, run id, individual id, skill, split) and small results, never tensors; the things
themselves live in the process' workspace. Infrastructure faults are retried, wrong answers never.

Tasks that every generation repeats carry no tags, only names: Prefect asks the server for a concurrency slot per tag
whenever a tagged task starts, which took up to two seconds each beside a busy engine on two cores.
"""
