"""A benchmark's problems, ready to be put to a model: tasks of lm-evaluation-harness on local or the hub's data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from cycleqd.generalisation import local_data
from cycleqd.generalisation.definitions import Benchmark, DataState
from cycleqd.generalisation.harness import harness_module, quiet
from cycleqd.generalisation.scorers import SCORERS
from cycleqd.skills.benchmarks.benchmark import DataUnavailable, files_sha256

SEED: Final = 1234
"""Draws solved examples, where they are not always the same: the harness' default."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A benchmark with its data.

    Attributes:
        benchmark: Which.
        tasks: The harness' tasks by name.
        chosen: Numbers of the problems to score, by task; ascending.
        problems: How many problems are at hand.
        source: ``hub``, or the local files' names.
        data_hash: Over the chosen problems and the local files.
    """

    benchmark: Benchmark
    tasks: Mapping[str, Any]
    chosen: Mapping[str, list[int]]
    problems: int
    source: str
    data_hash: str

    @property
    def n(self) -> int:
        """How many problems are scored."""
        return sum(map(len, self.chosen.values()))

    @property
    def state(self) -> DataState:
        """Whether they are all of the benchmark's, a part, or a fixture."""
        state = self.benchmark.state(self.problems)
        return "part" if state == "full" and self.n < self.problems else state


def prepare(benchmark: Benchmark, *, limit: int | None = None, data: str | None = None) -> Prepared:
    """Loads a benchmark's problems.

    Args:
        benchmark: One of kind ``likelihood`` or ``generation``.
        limit: Most problems to score, spread evenly over tasks and files; None is all.
        data: A folder with local copies; None looks in ``CYCLEQD_DATA_DIR``, then on the hub.

    Raises:
        DataUnavailable: There is no local copy and the hub does not give one, or a copy cannot be read.
        HarnessMissing: The package lm-eval is not installed.
    """
    files = local_data.find(benchmark.name, benchmark.local, data)
    with quiet():
        if files:
            splits = local_data.read(benchmark.name, files)
            tasks = _load(benchmark, [_specification(benchmark, name, rows) for name, rows in splits.items()])
        else:
            try:
                tasks = _load(benchmark, [_hub_specification(benchmark, name) for name in benchmark.tasks])
            except Exception as error:  # whatever the hub's client and the data library raise
                text = " ".join(str(error).split())
                raise DataUnavailable(
                    f"{benchmark.name}: no local copy ({' or '.join(benchmark.local)} in a folder of data), and the "
                    f"hub does not give it ({type(error).__name__}: {text:.160})"
                ) from None
        for task in tasks.values():
            task.set_config(key="num_fewshot", value=benchmark.shots)
            task.set_fewshot_seed(seed=SEED)
        sizes = {name: len(task.eval_docs) for name, task in tasks.items()}
        chosen = spread(sizes, limit)
        digest = hashlib.sha256(files_sha256(files).encode() if files else b"hub")
        for name, numbers in chosen.items():
            documents = tasks[name].eval_docs
            for number in numbers:
                digest.update(json.dumps([name, documents[number]], sort_keys=True, default=str).encode())
    source = ", ".join(dict.fromkeys(path.name for path in files)) if files else "hub"
    return Prepared(benchmark, tasks, chosen, sum(sizes.values()), source, digest.hexdigest())


def spread(sizes: Mapping[str, int], limit: int | None) -> dict[str, list[int]]:
    """Which problems a limit takes: as evenly as can be over tasks, and within one over its length.

    Args:
        sizes: Problems by task.
        limit: Most of them, at least 1; None is all.
    """
    if limit is None:
        return {name: list(range(size)) for name, size in sizes.items()}
    counts, room = dict.fromkeys(sizes, 0), min(limit, sum(sizes.values()))
    while room:
        for name in [name for name in sizes if counts[name] < sizes[name]][:room]:
            counts[name] += 1
            room -= 1
    return {
        name: [number * sizes[name] // count for number in range(count)] for name, count in counts.items() if count
    }


def _load(benchmark: Benchmark, specifications: list[Any]) -> dict[str, Any]:
    """Tasks by name. A specification is a name that the harness knows, or a task's settings.

    Settings of a task that the harness knows go on top of its own, which it does for members of a group alone.
    """
    harness_tasks = harness_module("tasks")
    # Only the benchmark's own folder: to look through all of the harness' takes many seconds.
    folder = Path(str(harness_tasks.__file__)).parent / benchmark.folder if benchmark.folder else None
    manager = harness_tasks.TaskManager(include_defaults=False, include_path=str(folder) if folder else None)
    known = set(manager.all_subtasks)
    members = [one for one in specifications if isinstance(one, dict) and one["task"] in known]
    others = [one for one in specifications if one not in members]
    groups = [{"group": "cycleqd", "task": members}] if members else []
    tasks: dict[str, Any] = manager.load([*groups, *others])["tasks"]
    return tasks


def _hub_specification(benchmark: Benchmark, name: str) -> Any:
    return {"task": name, **_settings(benchmark)} if benchmark.define else name


def _settings(benchmark: Benchmark) -> dict[str, Any]:
    scorer = {"process_results": SCORERS[benchmark.scorer]} if benchmark.scorer else {}
    return {**benchmark.define, **scorer}


def _specification(benchmark: Benchmark, name: str, splits: Mapping[str, local_data.Rows]) -> dict[str, Any]:
    """The harness' task on local rows; where they have no solved examples, those come from the problems themselves."""
    rows = {split: found for split, found in splits.items() if found}
    settings: dict[str, Any] = {"task": name, "custom_dataset": partial(_dataset, rows), **_settings(benchmark)}
    test = next(split for split in ("test", "validation") if split in rows)
    settings |= {"test_split": None, "validation_split": None, "training_split": None} | {f"{test}_split": test}
    if "train" in rows:
        settings["training_split"] = "train"
    elif "dev" not in rows and name not in _WITH_OWN_EXAMPLES and not name.startswith("bbh_"):
        settings["fewshot_split"] = test
    if name == "hellaswag":  # whose hub rows have the parts of what stands here whole
        preprocess = harness_module("tasks.hellaswag.utils").preprocess
        clean = {split: [_clean(row, preprocess) for row in found] for split, found in rows.items()}
        settings |= {"custom_dataset": partial(_dataset, clean), "process_docs": None}
    return settings


_WITH_OWN_EXAMPLES: Final = ("gsm8k_cot",)
"""Tasks whose solved examples the harness carries."""


def _clean(row: Mapping[str, Any], preprocess: Any) -> dict[str, Any]:
    choices = [preprocess(choice) for choice in row["choices"]]
    return {"query": preprocess(row["query"]).strip(), "choices": choices, "label": row["label"]}


def _dataset(rows: Mapping[str, local_data.Rows], **_: Any) -> dict[str, Any]:
    import datasets

    return {split: datasets.Dataset.from_list(found) for split, found in rows.items()}
