"""Reading AgentBench's shell tasks: a set is a JSON list of records, with a folder of scripts that they name.

A checkout has ``data/os_interaction/data/<set>/*.json`` with ``data/os_interaction/scripts/<set>/``, and
``data/os_interaction/data/dev.json`` with ``scripts/dev/``. Scripts are read from there and nowhere else; a task that
names a script which is not given is skipped. AgentBench's comparators (``check/integer-match.py`` and others) are
functions of ours (`cycleqd.skills.benchmarks.agentbench_os.checks`), whether given or not.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from cycleqd.skills.benchmarks.agentbench_os.checks import COMPARATORS, is_pattern
from cycleqd.skills.benchmarks.benchmark import DataUnavailable, Problem, locate
from cycleqd.skills.protocol import Skipped

_FOLDERS: Final = ("data/os_interaction/", "*/data/os_interaction/", "agentbench/os_interaction/", "os_interaction/")
FILES: Final = (
    *(f"{folder}{file}" for file in ("data/[0-9]*/*.json*", "data/dev.json", "dev.json") for folder in _FOLDERS),
    *("data/[0-9]*/*.json*", "data/dev.json", "[0-9]*/*.json*", "dev.json"),
)
"""Where a folder of data or a checkout has the tasks: the numbered sets, else the development set."""
IMAGES: Final = ("default", "packages", "ubuntu")
LANGUAGES: Final = ("bash", "python")

Script = Mapping[str, str]
"""``language`` and ``code``."""


class UnusableRecord(ValueError):
    """A task that can't be played; the text says why."""


def find_sets(data: str | None, *, skill: str) -> list[Path]:
    """The files of all sets: the numbered ones, and the development set where it lies beside them.

    Args:
        data: The setting: a file, a checkout or a folder of one, down to the folder of one numbered set.
        skill: For messages.

    Raises:
        DataUnavailable: There is none.
    """
    if data is not None and Path(data).expanduser().is_file():
        return locate(data, FILES, skill=skill)
    if data is not None and Path(data).name.isdecimal():
        return locate(data, ("*.json*", *FILES), skill=skill)
    found = locate(data, FILES, skill=skill)
    development = found[0].parent.parent / "dev.json"
    return [*found, development] if found[0].name != "dev.json" and development.is_file() else found


def read_problems(paths: Sequence[Path]) -> tuple[list[Problem], list[Skipped]]:
    """Reads files of tasks.

    Args:
        paths: JSON (a list or one object) or JSON Lines.

    Returns:
        The playable tasks and the others with the reason; ids are the set's name with a hash of the record. Of
        several files, one that is no JSON is skipped like a task.

    Raises:
        DataUnavailable: No file is JSON of that form.
    """
    problems: list[Problem] = []
    skipped: list[Skipped] = []
    unreadable: list[DataUnavailable] = []
    seen: Counter[str] = Counter()
    for path in paths:
        scripts = scripts_of(path)
        group = path.parent.name if path.parent.name.isdecimal() else path.stem
        try:
            records = _records(path)
        except DataUnavailable as fault:
            unreadable.append(fault)
            skipped.append(Skipped(f"os_interaction/{group}/{path.name}", str(fault)))
            continue
        for record in records:
            digest = hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()[:12]
            name = f"os_interaction/{group}/{digest}"
            seen[name] += 1
            name += f"-{seen[name]}" if seen[name] > 1 else ""
            try:
                data = _parsed(record, scripts)
            except UnusableRecord as fault:
                skipped.append(Skipped(name, str(fault)))
            else:
                problems.append(Problem(name, group, data["problem"], data))
    if unreadable and len(unreadable) == len(paths):
        raise unreadable[0]
    return problems, skipped


def scripts_of(path: Path) -> Path | None:
    """The folder with the scripts of a file of tasks; None where it is not given."""
    folder = path.parent
    candidates = (
        folder.parent.parent / "scripts" / folder.name,
        folder.parent / "scripts" / path.stem,
        folder / "scripts" / path.stem,
    )
    return next((candidate for candidate in candidates if candidate.is_dir()), None)


def _records(path: Path) -> list[Any]:
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".jsonl":
            return [json.loads(line) for line in text.split("\n") if line.strip()]
        records = json.loads(text)
    except (OSError, ValueError) as error:
        raise DataUnavailable(f"{path}: expected AgentBench's shell tasks as JSON: {error}") from error
    return records if isinstance(records, list) else [records]


def _parsed(record: Any, scripts: Path | None) -> dict[str, Any]:
    """The facts of one task: problem, image, init, start, match, check, example.

    Raises:
        UnusableRecord: It is malformed, or needs a script that is not given.
    """
    record = _object(record, "the record")
    if not isinstance(record.get("description"), str):
        raise UnusableRecord("malformed record: no description")
    create = record.get("create") or {}
    # AgentBench looks for two words in it; a list (in one record of the development set) has neither.
    create = {} if isinstance(create, list) else _object(create, "create")
    evaluation = _object(record.get("evaluation"), "evaluation")
    example = evaluation.get("example", record.get("example"))
    data = {
        "problem": record["description"],
        "image": _image(create),
        "init": [_script(item, scripts) for item in _several(create.get("init"))],
        "start": _script(record.get("start"), scripts),
        "match": None,
        "check": None,
        "example": None,
    }
    if "match" in evaluation:
        with contextlib.suppress(UnusableRecord):  # only a reference, which the match may do without
            data["example"] = _script(example, scripts)
        return {**data, "match": _match(evaluation["match"])}
    if "check" not in evaluation:
        raise UnusableRecord("malformed record: evaluation has neither match nor check")
    data["example"] = _script(example, scripts)
    return {**data, "check": _checks(evaluation["check"], scripts, data["example"])}


def _object(value: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise UnusableRecord(f"malformed record: {what} is {type(value).__name__}, not an object")
    return value


def _several(value: Any) -> list[Any]:
    return [] if value is None else value if isinstance(value, list) else [value]


def _image(create: Mapping[str, Any]) -> str:
    name = str(create.get("local") or str(create.get("image", "default")).split("/")[-1].split(":")[0])
    if name not in IMAGES:
        raise UnusableRecord(f"wants the image {name!r}; there are {', '.join(IMAGES)}")
    return name


def _script(value: Any, scripts: Path | None) -> Script | None:
    """A script of the data: bash as a string, or an object with ``code`` or ``file`` and maybe a ``language``."""
    if value is None:
        return None
    if isinstance(value, str):
        return {"language": "bash", "code": value}
    value = _object(value, "a script")
    language = value.get("language", "bash")
    if language not in LANGUAGES:
        raise UnusableRecord(f"a script is written in {language}; the images run {' and '.join(LANGUAGES)}")
    if isinstance(value.get("code"), str):
        return {"language": language, "code": value["code"]}
    if not isinstance(value.get("file"), str):
        raise UnusableRecord("malformed record: a script with neither code nor file")
    return {"language": language, "code": _file(value["file"], scripts)}


def _file(name: str, scripts: Path | None) -> str:
    if scripts is not None:
        path = (scripts / name).resolve()
        if not path.is_relative_to(scripts.resolve()):
            raise UnusableRecord(f"malformed record: {name} lies outside the set's scripts")
        if path.is_file():
            try:
                return path.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise UnusableRecord(f"the script {name} can't be read: {error}") from error
    raise UnusableRecord(f"needs the script {name}, which is not given")


def _match(value: Any) -> dict[str, str]:
    if isinstance(value, str):
        return {"answer": value}
    value = _object(value, "match")
    for key in ("answer", "regex"):
        if isinstance(value.get(key), str):
            if key == "regex" and not is_pattern(value[key]):
                raise UnusableRecord(f"malformed record: match has no valid pattern: {value[key][:80]!r}")
            return {key: value[key]}
    raise UnusableRecord("malformed record: match has neither answer nor regex")


def _checks(value: Any, scripts: Path | None, example: Script | None) -> list[dict[str, Any]]:
    """The steps of a check: ``example``, ``compare`` with the name of a comparator, or ``script``."""
    steps: list[dict[str, Any]] = []
    for item in _several(value) or [None]:
        if item is None:
            if example is None:
                raise UnusableRecord("malformed record: the check wants the example's output, and there is none")
            steps.append({"example": True})
        elif isinstance(item, dict) and Path(str(item.get("file"))).stem in COMPARATORS:
            if not steps:
                raise UnusableRecord("malformed record: the check compares the answer with nothing")
            steps.append({"compare": Path(item["file"]).stem})
        else:
            steps.append({"script": _script(item, scripts)})
    return steps
