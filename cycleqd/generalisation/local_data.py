"""Local copies of the benchmarks' data, in the forms in which they are passed around, as the hub has them.

Each reader gives rows by task of lm-evaluation-harness and split, with the fields of the hub's data set. Rows that
already have these fields are taken as they are, so that a copy of the hub's own files (JSON lines) is read, too.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from cycleqd.skills.benchmarks.benchmark import DataUnavailable, locate

Rows = list[dict[str, Any]]
Splits = dict[str, dict[str, Rows]]
"""Rows by task and split."""

SUBFOLDER: Final = "generalisation"
"""In a folder of data, where these files may lie together."""

_ANSWERS: Final = re.compile(r"Answer(\d):\s*(.*?)\s*(?=Answer\d:|\n|\Z)", re.S)
_ASKED: Final = "Please choose the correct answer to the question:"


def find(name: str, patterns: Sequence[str], data: str | None) -> list[Path]:
    """The local files of a benchmark; none where neither `data` nor the environment's folder has them.

    Args:
        name: The benchmark's, for messages.
        patterns: Globs below the folder.
        data: A file or folder that must have them; None looks in the folder that ``CYCLEQD_DATA_DIR`` names.

    Raises:
        DataUnavailable: `data` is given and has none.
    """
    both = [*(f"{SUBFOLDER}/{pattern}" for pattern in patterns), *patterns]
    try:
        return locate(data, both, skill=name)
    except DataUnavailable:
        if data is not None and not Path(data).expanduser().is_dir():
            raise
        return []


def read(name: str, files: Sequence[Path]) -> Splits:
    """Reads a benchmark's files.

    Raises:
        DataUnavailable: A file cannot be read, or is of no form that is known here.
    """
    try:
        found = _READERS[name](files)
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        names = ", ".join(str(path) for path in files[:3])
        raise DataUnavailable(
            f"{name}: {names} cannot be read as its data ({type(error).__name__}: {error})"
        ) from None
    if not found or not all(any(rows for rows in splits.values()) for splits in found.values()):
        raise DataUnavailable(f"{name}: {files[0]} has no problems")
    return found


def _rows(path: Path) -> Rows:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in text.splitlines() if line.strip()]
    content = json.loads(text)
    if not isinstance(content, list):
        raise ValueError("expected a list of problems")
    return content


def _all_rows(files: Sequence[Path]) -> Rows:
    return [row for path in files for row in _rows(path)]


def _gsm8k(files: Sequence[Path]) -> Splits:
    return {
        "gsm8k_cot": {"test": [{"question": row["question"], "answer": row["answer"]} for row in _all_rows(files)]}
    }


def _bbh(files: Sequence[Path]) -> Splits:
    """A file a task, as its authors have them; the solved examples are the harness' (and the authors') own."""
    found = {}
    for path in files:
        content = json.loads(path.read_text(encoding="utf-8"))
        examples = content["examples"] if isinstance(content, dict) else content
        rows = [{"input": row["input"], "target": row["target"]} for row in examples]
        found[f"bbh_cot_fewshot_{path.stem}"] = {"test": rows}
    return found


def _mmlu(files: Sequence[Path]) -> Splits:
    """A subject's test questions, and beside them its five solved ones in ``<subject>_dev.csv``."""
    found: Splits = {}
    for path in files:
        subject = path.name.partition("_test")[0]
        splits = found.setdefault(
            f"mmlu_{subject}", {"test": [], "dev": _mmlu_rows(path.with_name(f"{subject}_dev.csv"))}
        )
        splits["test"] += _mmlu_rows(path)
    return found


def _mmlu_rows(path: Path) -> Rows:
    with path.open(encoding="utf-8", newline="") as stream:
        return [
            {"question": question, "choices": choices, "answer": "ABCD".index(letter)}
            for question, *choices, letter in csv.reader(stream)
        ]


def _squad2(files: Sequence[Path]) -> Splits:
    rows: Rows = []
    for path in files:
        if path.suffix == ".jsonl":
            rows += _rows(path)
        else:
            rows += _squad_rows(json.loads(path.read_text(encoding="utf-8")))
    return {"cycleqd_squad2": {"validation": rows}}


def _squad_rows(content: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for article in content["data"]:
        for paragraph in article["paragraphs"]:
            for question in paragraph["qas"]:
                answers = question.get("answers", [])
                yield {
                    "id": question["id"],
                    "title": article["title"],
                    "context": paragraph["context"],
                    "question": question["question"],
                    "answers": {
                        "text": [answer["text"] for answer in answers],
                        "answer_start": [answer["answer_start"] for answer in answers],
                    },
                }


def _triviaqa(files: Sequence[Path]) -> Splits:
    def row(found: dict[str, Any]) -> dict[str, Any]:
        if "answer" in found:
            return {"question": found["question"], "answer": {"aliases": found["answer"]["aliases"]}}
        question = found["question"].removesuffix("?")  # the prompt has one
        return {"question": question, "answer": {"aliases": list(dict.fromkeys(found["golden_answers"]))}}

    return {"triviaqa": {"validation": [row(found) for found in _all_rows(files)]}}


def _hellaswag(files: Sequence[Path]) -> Splits:
    """The hub's rows, or questions with lettered endings, whose ``dev`` part gives the solved examples."""
    splits: dict[str, Rows] = {"validation": [], "train": []}
    for path in files:
        content = {} if path.suffix == ".jsonl" else json.loads(path.read_text(encoding="utf-8"))
        if isinstance(content, dict) and "test" in content:
            splits["validation"] += [_lettered(row) for row in content["test"]]
            splits["train"] += [_lettered(row) for row in content.get("dev", [])]
        else:
            splits["validation"] += [_endings(row) for row in _rows(path)]
    return {"hellaswag": splits}


def _lettered(row: Mapping[str, Any]) -> dict[str, Any]:
    letters = sorted(row["choices"])
    return {
        "query": row["question"],
        "choices": [row["choices"][letter] for letter in letters],
        "label": letters.index(row["answer"]),
    }


def _endings(row: Mapping[str, Any]) -> dict[str, Any]:
    context = f"{row['ctx_a']} {row['ctx_b'].capitalize()}"
    return {
        "query": f"{row['activity_label']}: {context}",
        "choices": list(row["endings"]),
        "label": int(row["label"]),
    }


def _openbookqa(files: Sequence[Path]) -> Splits:
    def row(found: dict[str, Any]) -> dict[str, Any]:
        if "question_stem" in found:
            return {name: found[name] for name in ("question_stem", "choices", "answerKey")}
        text = found["instruction"]
        stem, found_answers, _ = text.removeprefix(_ASKED).partition("Answer1:")
        options = _ANSWERS.findall(text)
        if not found_answers:
            raise ValueError(f"no question with numbered answers: {text[:80]!r}")
        return {
            "question_stem": stem.strip(),
            "choices": {"text": [option for _, option in options], "label": [f"answer{n}" for n, _ in options]},
            "answerKey": found["answer"],
        }

    return {"openbookqa": {"test": [row(found) for found in _all_rows(files)]}}


def _xwinograd(files: Sequence[Path]) -> Splits:
    rows: Rows = []
    for path in files:
        if path.suffix == ".jsonl":
            rows += _rows(path)
            continue
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.strip():
                rows.append(_winograd(line.split("\t")))
    return {"xwinograd_en": {"test": rows}}


def _winograd(cells: Sequence[str]) -> dict[str, Any]:
    """A row of the authors' table: a sentence in tokens, its pronoun's place, two candidates and which is right."""
    sentence, tokens, pronoun, candidates = cells[3], *map(json.loads, cells[4:7])
    # Tokens are not always spelled as in the sentence, so the pronoun is counted and not added up to.
    before = tokens[: pronoun[1][0]].count(pronoun[0])
    place = [found.start() for found in re.finditer(rf"\b{re.escape(pronoun[0])}\b", sentence)][before]
    (first, _, _, is_first), (second, *_) = candidates
    return {
        "sentence": f"{sentence[:place]}_{sentence[place + len(pronoun[0]) :]}",
        "option1": first,
        "option2": second,
        "answer": "1" if is_first else "2",
    }


_READERS: Final[Mapping[str, Callable[[Sequence[Path]], Splits]]] = {
    "gsm8k": _gsm8k,
    "bbh": _bbh,
    "mmlu": _mmlu,
    "squad2": _squad2,
    "triviaqa": _triviaqa,
    "hellaswag": _hellaswag,
    "openbookqa": _openbookqa,
    "xwinograd": _xwinograd,
}
