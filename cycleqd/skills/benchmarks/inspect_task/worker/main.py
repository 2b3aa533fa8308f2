"""Playing tasks as standard input says."""

from __future__ import annotations

import functools
import inspect
import random
import re
from typing import Any, Final

from cycleqd.skills.benchmarks.inspect_task.worker.link import Link
from cycleqd.skills.benchmarks.inspect_task.worker.stage import (
    NAME,
    Sample,
    Stage,
    current,
    is_limit,
    judging,
    open_stage,
    refuse,
)
from cycleqd.skills.benchmarks.inspect_task.worker.stand_ins import register
from cycleqd.skills.benchmarks.inspect_task.worker.tasks import DRAWS, describe, load, samples_of

_MARKS: Final = re.compile(r"\[/?\w+\]")
"""inspect_ai's marks for bold text."""


def play(link: Link, command: dict[str, Any]) -> None:
    """Plays samples of a task."""
    from inspect_ai import eval as run
    from inspect_ai import task_with
    from inspect_ai.dataset import MemoryDataset

    task = load(command["task"], command["arguments"])
    every = samples_of(task)
    stage = Stage(link, score=command["score"])
    if missing := [key for key in command["ids"] if key not in every]:
        refuse(stage, f"it has no sample {missing[0]} any more: {DRAWS}, and give its samples ids")
        return
    chosen = [every[key].model_copy(update={"id": key}) for key in command["ids"]]
    boxed = task.sandbox is not None
    for sample in chosen:
        if sample.sandbox is not None:
            boxed, sample.sandbox = True, None
    stage.samples = {key: Sample() for key in command["ids"]}
    open_stage(stage)
    changes: dict[str, Any] = {"dataset": MemoryDataset(chosen, name=task.dataset.name), "epochs": 1}
    changes["solver"] = _watched(task.solver, task.setup, stage)
    changes["setup"] = None
    changes["scorer"] = _heard(task.scorer, stage)
    if boxed:
        changes["sandbox"] = NAME
    task = task_with(task, **changes)
    # What newer versions start beside an evaluation, for people who watch it.
    takes = inspect.signature(run).parameters
    quiet = {name: False for name in ("log_realtime", "acp_server", "ctl_server") if name in takes}
    logs = run(
        task,
        model=f"{NAME}/{command['name']}",
        log_dir=command["log"],
        log_format="eval",
        display="none",
        max_samples=command["live"],
        max_sandboxes=command["live"],
        fail_on_error=False,
        score=command["score"],
        **quiet,
    )
    log = logs[0]
    link.tell("played", log=log.location, status=log.status, error=log.error.message if log.error else None)


def _watched(solve: Any, setup: Any, stage: Stage) -> Any:
    """The task's solver, which says when it fails: inspect_ai tells only when all samples have ended."""
    from inspect_ai.solver import solver

    @solver(name=f"{NAME}_watched")  # type: ignore[untyped-decorator]
    def watched() -> Any:
        async def watch(state: Any, generate: Any) -> Any:
            key = str(state.sample_id)
            sample = stage.samples[key]
            current.set(key)
            random.seed(key)
            sample.began = True
            try:
                for step in (setup if isinstance(setup, list) else [setup]) if setup else ():
                    state = await step(state, generate)
                state = await solve(state, generate)
            except Exception as error:
                if not is_limit(error):
                    _failed(stage, key, error)
                raise
            except (SystemExit, KeyboardInterrupt) as error:  # which would end all samples
                _failed(stage, key, error)
                raise RuntimeError(f"the task raised {error!r}") from None
            finally:
                sample.solved = True
            if not sample.asked:
                _failed(stage, key, ValueError("its solver asks the model for nothing"))
            return state

        return watch

    return watched()


def _failed(stage: Stage, key: str, error: BaseException) -> None:
    if type(error).__name__ == "PrerequisiteError":  # a package or a key for another model, whatever ours replied
        refuse(stage, f"it wants what is not here: {' '.join(_MARKS.sub('', str(error)).split())}")
    stage.link.tell("failed", sample=key, text=f"{type(error).__name__}: {error}", asked=stage.samples[key].asked)


def _heard(scorers: list[Any], stage: Stage) -> list[Any]:
    """The task's scorers, the last of which says what all of them said."""
    from inspect_ai._util.registry import registry_unqualified_name
    from inspect_ai.scorer import value_to_float

    said: dict[str, list[dict[str, Any]]] = {}
    number = value_to_float()

    def numbers(value: Any) -> dict[str, float]:
        if isinstance(value, dict):
            return {str(name): float(number(one)) for name, one in value.items() if one is not None}
        if isinstance(value, (list, tuple)):
            return {str(place): float(number(one)) for place, one in enumerate(value)}
        return {"": float(number(value))}

    def heard(scorer: Any) -> Any:
        @functools.wraps(scorer)
        async def listen(state: Any, target: Any) -> Any:
            key = str(state.sample_id)
            token = judging.set(True)
            try:
                score = await scorer(state, target)
            except Exception as error:
                _failed(stage, key, error)
                raise
            except (SystemExit, KeyboardInterrupt) as error:
                _failed(stage, key, error)
                raise RuntimeError(f"the task raised {error!r}") from None
            finally:
                judging.reset(token)
            said.setdefault(key, []).append(
                {
                    "scorer": registry_unqualified_name(scorer),
                    "numbers": numbers(score.value) if score is not None else {},
                    "value": str(score.value) if score is not None else "",
                    "answer": score.answer if score is not None else None,
                    "explanation": score.explanation if score is not None else None,
                }
            )
            if len(said[key]) == len(scorers):
                stage.link.tell("scored", sample=key, scores=said.pop(key))
            return score

        return listen

    return [heard(scorer) for scorer in scorers]


def main() -> None:
    """Obeys commands until standard input ends."""
    link = Link()
    try:
        register()
    except ImportError as error:
        link.tell("absent", text=str(error))
        return
    while (command := link.commands.get()) is not None:
        try:
            if command["do"] == "describe":
                describe(link, command["task"], command["arguments"])
            else:
                play(link, command)
        except BaseException as error:  # a task is anybody's program
            link.tell("fault", text=f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
