"""Small files in the forms that benchmarks' data come in, and random models that know nothing."""

import csv
import json

import pytest

from cycleqd.config import RunConfig
from cycleqd.models.causal_lm import open_engine
from cycleqd.run.store import RunStore
from tests.tiny_models import save_tied

LETTERS = "ABCD"
LONGEST = 2048
"""Tokens of a conversation, for our engine and for lm-eval's."""


@pytest.fixture(scope="session")
def long_tiny(tmp_path_factory):
    """A random model with room for solved examples, a token a character."""
    path = tmp_path_factory.mktemp("models") / "long-tiny"
    save_tied(path, max_position_embeddings=4096)
    return path


@pytest.fixture(scope="module")
def engine(long_tiny):
    """Our engine with that model."""
    opened = open_engine("transformers", long_tiny, dtype="float32", max_model_len=LONGEST)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def theirs(long_tiny):
    """lm-eval's own engine with it; its windows of whole texts are two tokens longer than ours."""
    from lm_eval.models.huggingface import HFLM

    return HFLM(pretrained=str(long_tiny), device="cpu", dtype="float32", max_length=LONGEST, batch_size=4)


@pytest.fixture
def seeing_run(tmp_path, long_tiny):
    """A run with a skill that shows images."""
    model = {"name": str(long_tiny), "vision": "tiny-vision", "dtype": "float32"}
    settings = {"run_id": "seeing", "storage": str(tmp_path), "model": model, "skills": [{"name": "vqa"}]}
    store = RunStore(str(tmp_path), "seeing")
    store.open(RunConfig.model_validate(settings))
    return store


@pytest.fixture
def data_folder(tmp_path):
    """A folder with three problems or more of every benchmark of the harness."""
    folder = tmp_path / "data"
    write_data(folder)
    return folder


def write_data(folder):
    for name in ("mmlu", "bbh"):
        (folder / name).mkdir(parents=True)
    for subject in ("anatomy", "virology"):
        for part, count in (("dev", 5), ("test", 3)):
            with (folder / f"mmlu/{subject}_{part}.csv").open("w", newline="") as stream:
                writer = csv.writer(stream)
                for n in range(count):
                    writer.writerow([f"{subject} {part}, {n}?", "one", "two", "three", "four", LETTERS[n % 4]])
    examples = [{"input": f"not {n} is", "target": str(bool(n % 2))} for n in range(3)]
    (folder / "bbh/boolean_expressions.json").write_text(json.dumps({"canary": "", "examples": examples}))
    write_lines(folder / "gsm8k-test.jsonl", [{"question": f"{n} + 1?", "answer": f"#### {n + 1}"} for n in range(3)])
    write_lines(
        folder / "triviaqa.jsonl",
        [{"id": str(n), "question": f"Who is {n}?", "golden_answers": [f"He {n}", "Him"]} for n in range(6)],
    )
    paragraph = {
        "context": "Ann lives in Rome.",
        "qas": [
            {"id": str(n), "question": f"Where, {n}?", "answers": answers, "is_impossible": not answers}
            for n, answers in enumerate([[{"text": "Rome", "answer_start": 13}], []] * 3)
        ],
    }
    squad = {"version": "v2.0", "data": [{"title": "Ann", "paragraphs": [paragraph]}]}
    (folder / "squad2-dev.json").write_text(json.dumps(squad))
    lettered = [
        {
            "question": f"[header] A man {n}",
            "choices": dict(zip(LETTERS, "wxyz", strict=True)),
            "answer": LETTERS[n % 4],
        }
        for n in range(5)
    ]
    hellaswag = {"dataset": "hellaswag", "dev": lettered, "test": lettered[:3]}
    (folder / "hellaswag.json").write_text(json.dumps(hellaswag))
    asked = (
        "Please choose the correct answer to the question: Sun {n} is\n\nAnswer1: hot Answer2: not so cold "
        "Answer3: blue: yes Answer4: far\n\nAnswer format: answer1/answer2/answer3/answer4"
    )
    books = [{"instruction": asked.replace("{n}", str(n)), "answer": f"answer{n % 4 + 1}"} for n in range(6)]
    (folder / "openbookqa.json").write_text(json.dumps(books))
    rows = []
    for n in range(6):
        candidates = [["people", [0, 1], ["They"], n % 2 == 0], ["the dogs", [2, 4], ["the", "dogs"], n % 2 == 1]]
        tokens = ["They", "saw", "the", "dogs", "when", "they", "came", "at", str(n), "."]
        start = ["en", "original", "?", f"They saw the dogs when they came at {n}.", json.dumps(tokens)]
        rows.append([*start, json.dumps(["they", [5, 6], ["they"]]), json.dumps(candidates)])
    (folder / "xwinograd-en.tsv").write_text("".join("\t".join(row) + "\n" for row in rows))


def write_lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
