"""Tasks: loading one, its samples, what keeps it from being played here."""

from __future__ import annotations

import hashlib
import inspect
import itertools
import json
import random
from pathlib import Path
from typing import Any, Final

from cycleqd.skills.benchmarks.inspect_task.worker.link import Link
from cycleqd.skills.benchmarks.inspect_task.worker.stage import NAME

ASKS_ITSELF: Final = "its scorer asks the model that is scored for its verdict: name another model as its grader"
DRAWS: Final = "it draws at random, or reads the clock. Give it a seed, or shuffle nothing"
_GRADERS: Final = ("model_graded_qa", "model_graded_fact")
"""inspect_ai's own scorers that ask the scored model where no other is named."""
TASK_FOLDER: Final = "__task_run_dir__"


def load(name: str, arguments: dict[str, Any]) -> Any:
    """The one task of this name, its draws the same every time where it draws from Python's `random`."""
    from inspect_ai._eval.loader import load_tasks
    from inspect_ai.model import get_model

    random.seed(0)
    options: dict[str, Any] = {"task_args": arguments}
    if "model" in inspect.signature(load_tasks).parameters:
        options["model"] = get_model(f"{NAME}/task")
    tasks = load_tasks([name], **options)
    if len(tasks) != 1:
        raise ValueError(f"{name} names {len(tasks)} tasks: write one of them as FILE.py@TASK or PACKAGE/TASK")
    return tasks[0]


def samples_of(task: Any) -> dict[str, Any]:
    """The samples by id; those without one are named by what they are, so that their order does not matter."""
    found: dict[str, Any] = {}
    for sample in task.dataset:
        key = str(sample.id) if sample.id is not None else _digest(sample)[:12]
        if key in found and sample.id is None:
            key = next(f"{key}-{n}" for n in itertools.count(2) if f"{key}-{n}" not in found)
        if key in found:
            raise ValueError(f"two samples have the id {key}")
        found[key] = sample
    return found


def _digest(sample: Any) -> str:
    shown = sample.input if isinstance(sample.input, str) else [[m.role, m.text] for m in sample.input]
    content = [shown, sample.target, sample.choices]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def faults_of(task: Any, samples: dict[str, Any]) -> list[str]:
    """Why the task can't be played here."""
    found = []
    if not task.scorer:
        found.append("it has no scorer")
    elif not getattr(task, "model_roles", None) and any(map(_asks_itself, task.scorer)):
        found.append(ASKS_ITSELF)
    for spec in (task.sandbox, *(sample.sandbox for sample in samples.values())):
        if spec is None:
            continue
        if spec.type not in ("docker", NAME):
            found.append(f"its sandbox is {spec.type!r}: what a model writes runs in containers without network alone")
        elif spec.config is not None and not isinstance(spec.config, str):
            found.append(f"its Docker sandbox is configured by a {type(spec.config).__name__}, not by a file")
    for key, sample in samples.items():
        if not isinstance(sample.input, str) and any(
            not isinstance(message.content, str) and any(part.type != "text" for part in message.content)
            for message in sample.input
        ):
            found.append(f"sample {key} shows more than text")
            break
    return list(dict.fromkeys(found))


def _asks_itself(scorer: Any) -> bool:
    from inspect_ai._util.registry import registry_params, registry_unqualified_name

    try:
        return registry_unqualified_name(scorer) in _GRADERS and registry_params(scorer).get("model") is None
    except ValueError:  # a scorer without a name; whom it asks is seen when it does
        return False


def _sandbox_of(task: Any, sample: Any) -> dict[str, Any] | None:
    """The file that configures a sample's sandbox, and the folder from where it is found."""
    spec = sample.sandbox or task.sandbox
    if spec is None:
        return None
    folder = Path(getattr(task, TASK_FOLDER, None) or ".").absolute()
    return {"config": spec.config if isinstance(spec.config, str) else None, "folder": str(folder)}


def describe(link: Link, name: str, arguments: dict[str, Any]) -> None:
    """Says what a task has."""
    import inspect_ai

    task = load(name, arguments)
    samples = samples_of(task)
    link.tell(
        "described",
        inspect=inspect_ai.__version__,
        task=str(task.name),
        version=str(task.version),
        faults=faults_of(task, samples),
        max_tokens=task.config.max_tokens,
        samples=[
            {
                "id": key,
                "content": _digest(sample),
                "target": sample.target,
                "sandbox": _sandbox_of(task, sample),
            }
            for key, sample in samples.items()
        ],
    )
