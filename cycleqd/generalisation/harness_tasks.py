"""Any task of lm-evaluation-harness, by its name or from a user's own YAML, ready to be put to a model."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cycleqd.generalisation.catalogue import TaskName, harness_folder, harness_names, near
from cycleqd.generalisation.definitions import FIXTURE, Benchmark, DataState
from cycleqd.generalisation.harness import Unfit, harness_module, quiet
from cycleqd.generalisation.tasks import SEED, spread
from cycleqd.skills.benchmarks.benchmark import DataUnavailable

_TOLD: Final = 200
"""Characters of another library's reason that are repeated."""
_ADDRESS: Final = re.compile(r" at 0x[0-9a-f]+")
_SELF_CONTAINED: Final = {"dataset_path", "custom_dataset", "class"}
"""What a task has that is written whole in a group."""
_GENERATION: Final = "generate_until"


@dataclass(frozen=True, slots=True)
class HarnessTasks:
    """A task of the harness, or a group that has a score of its own, with its data.

    Attributes:
        benchmark: How it is shown.
        tasks: The harness' tasks by name: the one, or the group's.
        groups: The harness' groups by name; empty for a task.
        chosen: Numbers of the problems to score, by task; ascending.
        problems: How many problems are at hand.
        source: ``hub``, or the local files' names.
        identity: Over settings, problems and all that is asked.
    """

    benchmark: Benchmark
    tasks: Mapping[str, Any]
    groups: Mapping[str, Any]
    chosen: Mapping[str, list[int]]
    problems: int
    source: str
    identity: str

    @property
    def state(self) -> DataState:
        """Whether all problems at hand are scored, a part, or so few that they measure nothing."""
        if self.problems < FIXTURE:
            return "fixture"
        return "full" if sum(map(len, self.chosen.values())) == self.problems else "part"


def prepare_tasks(name: TaskName, *, limit: int | None = None, shots: int | None = None) -> list[HarnessTasks]:
    """Loads a task's problems; a tag, or a group without a score of its own, is several.

    Args:
        name: Which.
        limit: Most problems of each to score, spread evenly over a group's tasks; None is all.
        shots: Solved examples in each prompt; None is as the tasks say. Who says 0 keeps to it, as in the harness.

    Raises:
        DataUnavailable: The YAML is at fault, its data cannot be had, or our engines cannot be asked that.
        HarnessMissing: The package lm-eval is not installed.
    """
    harness_module()
    with quiet():
        loaded = _loaded(name)
        try:
            return [_prepared(*one, limit, shots) for one in _apart(name, loaded)]
        except Unfit as error:
            raise DataUnavailable(f"{name.name}: {error}") from None
        except Exception as error:  # whatever a task's own templates and functions raise
            raise DataUnavailable(f"{name.name}: its problems cannot be put: {_line(error)}: mend its YAML") from None


def _loaded(name: TaskName) -> dict[str, Any]:
    manager = _manager(name)
    entry = manager.task_index.get(name.entry)
    if entry is None and not Path(name.entry).is_file():
        close = near(name.entry, manager.all_tasks)
        raise DataUnavailable(f"{name.name}: no task, group or tag has that name" + _meant(close))
    try:
        found: dict[str, Any] = manager.load([name.entry])
    except Exception as error:  # whatever the hub's client, the data library and a user's YAML raise
        settings = (entry.cfg or {}) if entry is not None else _settings(Path(name.entry))
        path = settings.get("dataset_path")
        data = f"its data ({path})" if path else "it or its data"
        raise DataUnavailable(
            f"{name.name}: {data} cannot be had ({_line(error)}): reach the hub, or mend dataset_path and "
            "dataset_kwargs of its YAML"
        ) from None
    if not found["tasks"]:
        raise DataUnavailable(f"{name.name}: it has no tasks")
    return found


def _settings(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = harness_module("tasks._yaml_loader").load_yaml(path, resolve_func=False)
    except Exception:  # whatever is wrong with it: it was told already
        return {}
    return found


def _manager(name: TaskName) -> Any:
    """The harness' tasks in the folders that have the name, and in those that its members are in.

    To look through all of the harness' takes half a minute.
    """
    tasks = harness_module("tasks")
    root, folders = harness_folder(), set(harness_names().get(name.entry, ()))
    while True:
        places = [str(root / folder) for folder in sorted(folders)] if root else []
        manager = tasks.TaskManager(include_defaults=False, include_path=[*places, *map(str, name.include)])
        missing = set(_members(name, manager)) - set(manager.all_tasks)
        more = {folder for member in missing for folder in harness_names().get(member, ())} - folders
        if not more:
            if unknown := sorted(missing):
                close = near(unknown[0], [*manager.all_tasks, *harness_names()])
                raise DataUnavailable(f"{name.name} names {unknown[0]!r}, which is no task or group{_meant(close)}")
            return manager
        folders |= more


def _members(name: TaskName, manager: Any) -> Iterator[str]:
    """What a group names, and the groups in it."""
    index, seen = manager.task_index, {name.entry}
    waiting: list[Any] = [name.entry]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            entry = index.get(one)
            one = dict(entry.cfg or {}) if entry is not None and "group" in (entry.cfg or {}) else {}
        for member in one.get("task", ()) if isinstance(one.get("task"), list) else ():
            if isinstance(member, dict):
                waiting.append(member)  # a group that is written there, or a task with settings of its own
                known = member.get("group") if "task" not in member else member.get("task")
                member = known if isinstance(known, str) and not _SELF_CONTAINED & set(member) else None
            if isinstance(member, str) and member not in seen:
                seen.add(member)
                waiting.append(member)
                yield member


def _apart(name: TaskName, loaded: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Rows of the table: name, tasks and groups."""
    tasks, groups = loaded["tasks"], loaded.get("groups") or {}
    whole = next((group for group in groups.values() if group.has_aggregation), None)
    top = next(iter(groups.values()), None)
    if len(tasks) == 1 or (whole is not None and whole is top):
        yield name.name, dict(tasks), dict(groups)
        return
    for task_name, task in tasks.items():
        yield task_name, {task_name: task}, {}


def _prepared(
    name: str, tasks: dict[str, Any], groups: dict[str, Any], limit: int | None, shots: int | None
) -> HarnessTasks:
    for task_name, task in tasks.items():
        if getattr(task, "UNSAFE_CODE", False):
            raise Unfit(f"{task_name} runs the model's programs on this machine: take humaneval_plus or bigcodebench")
        if getattr(task, "MULTIMODAL", False):
            raise Unfit(f"{task_name} shows more than text")
        said = task.get_config("num_fewshot")
        task.set_config(key="num_fewshot", value=shots if shots is not None and said != 0 else said or 0)
    sizes = {task_name: len(task.eval_docs) for task_name, task in tasks.items()}
    chosen = spread(sizes, limit)
    digest = hashlib.sha256()
    for task_name, numbers in chosen.items():
        for line in _asked(tasks[task_name], numbers):
            digest.update(line.encode())
    for group in groups.values():
        digest.update(_plain(group.to_dict()).encode())
    generates = all(task.OUTPUT_TYPE == _GENERATION for task in tasks.values())
    benchmark = Benchmark(
        name=name,
        title=name,
        kind="generation" if generates else "likelihood",
        shots=max(int(task.get_config("num_fewshot")) for task in tasks.values()),
        size=sum(sizes.values()),
        metric=next(iter(metrics_of(next(iter(tasks.values())))), ""),
        tasks=tuple(tasks),
    )
    source = ", ".join(dict.fromkeys(_source(task) for task in tasks.values()))
    return HarnessTasks(benchmark, tasks, groups, chosen, sum(sizes.values()), source, digest.hexdigest())


def metrics_of(task: Any) -> list[str]:
    """A task's own metrics, in its order."""
    listed = [one["metric"] for one in task.get_config("metric_list") or ()]
    names = [one if isinstance(one, str) else getattr(one, "__name__", str(one)) for one in listed]
    return names or list(task.aggregation())


def _asked(task: Any, numbers: list[int]) -> Iterator[str]:
    """All that a score of a task depends on besides the model.

    Raises:
        Unfit: Our engines cannot be asked that.
    """
    from cycleqd.generalisation.engine_model import greedy_settings

    yield _plain(task.dump_config())
    for folder in _code_of(task):
        for path in sorted(folder.glob("*.py")):
            yield path.read_text(encoding="utf-8", errors="replace")
    task._instances = None
    task.set_fewshot_seed(seed=SEED)
    task.build_all_requests(samples=numbers, rank=0, world_size=1)
    for one in task.instances:
        if one.request_type == _GENERATION:
            greedy_settings(one.args[1])
        yield _plain([one.request_type, one.doc_id, one.doc, one.args])
    task._instances = None


def _code_of(task: Any) -> list[Path]:
    """Folders of a user's functions: helpers that they call are not in the task's settings."""
    functions = [value for value in vars(task.config).values() if callable(value) and hasattr(value, "__code__")]
    root = harness_folder()
    files = {Path(function.__code__.co_filename) for function in functions}
    return sorted({file.parent for file in files if file.is_file() and not (root and root in file.parents)})


def _source(task: Any) -> str:
    files = (task.get_config("dataset_kwargs") or {}).get("data_files") or (
        task.get_config("dataset_kwargs") or {}
    ).get("data_dir")
    values = list(files.values()) if isinstance(files, dict) else [files] if files else []
    names = [name for value in values for name in (value if isinstance(value, list) else [value])]
    path = str(task.get_config("dataset_path") or "")
    if not names and Path(path).exists():
        names = [path]
    return ", ".join(dict.fromkeys(Path(str(name)).name for name in names)) or "hub"


def _plain(value: Any) -> str:
    return _ADDRESS.sub("", json.dumps(value, sort_keys=True, default=str))


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split()):.{_TOLD}}"


def _meant(close: list[str]) -> str:
    return f"; did you mean {' or '.join(close)}?" if close else ""
