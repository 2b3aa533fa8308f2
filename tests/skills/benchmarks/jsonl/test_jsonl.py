"""Problems of a user's own file: how they are read, split and scored."""

import json
from unittest.mock import MagicMock

import pytest

from cycleqd.config import ConfigError, parse_config
from cycleqd.sandbox.runner import CallOutcome
from cycleqd.skills.benchmarks.benchmark import DataUnavailable, Source
from cycleqd.skills.benchmarks.jsonl import scorers
from cycleqd.skills.building import build_skill
from cycleqd.skills.protocol import NoReference
from cycleqd.skills.registry import SkillUnavailable, find


def written(tmp_path, *rows):
    path = tmp_path / "mine.jsonl"
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return str(path)


def built(tmp_path, *rows, name="jsonl", counts=None, **source):
    return build_skill(name, counts=counts or {}, source=Source(data=written(tmp_path, *rows), **source))


def samples_of(skill):
    return [*skill.samples("optimization"), *skill.samples("test")]


def score(tmp_path, row, reply, runner=None):
    skill = built(tmp_path, {"prompt": "What?", **row})
    sandboxes = MagicMock()
    sandboxes.runner.return_value.__enter__.return_value = runner
    with skill.session(sandboxes) as session:
        episode = session.start(samples_of(skill)[0])
        assert episode.act(reply)
        return episode.judge().score


EXACT = {"answer": ["Paris", "City of Light"]}
CHOICE = {"scorer": "choice", "choices": ["A dog", "a cat", "Both A and B"], "answer": "A dog"}


@pytest.mark.parametrize(("row", "reply", "wanted"), [
    (EXACT, " Paris\n", 1), (EXACT, "City  of\nLight", 1), (EXACT, "paris", 0), (EXACT, "It is Paris", 0),
    (EXACT, "", 0),
    (EXACT | {"ignore_case": True}, "PARIS", 1),
    ({"scorer": "contains", "answer": "Paris"}, "It is Paris.", 1),
    ({"scorer": "contains", "answer": ["red", "blue"]}, "blue and red", 1),
    ({"scorer": "contains", "answer": ["red", "blue"]}, "red", 0),
    ({"scorer": "number", "answer": 1234.5}, "2 steps give 1,234.5", 1),
    ({"scorer": "number", "answer": "1,234.5"}, "1234.5 apples", 1),
    ({"scorer": "number", "answer": 12}, "12 or 13", 0),
    ({"scorer": "number", "answer": -3}, "x = -3.0", 1),
    ({"scorer": "number", "answer": 10, "tolerance": 0.1}, "10.5", 1),
    ({"scorer": "number", "answer": 10}, "no idea", 0),
    (CHOICE, "A", 1), (CHOICE, "(A) A dog", 1), (CHOICE, "A. A dog", 1), (CHOICE, "**A**", 1), (CHOICE, "a dog.", 1),
    (CHOICE, "I think that the answer is A.", 1), (CHOICE, "The answer is A, not B.", 1), (CHOICE, "Answer: **A**", 1),
    (CHOICE, "B", 0), (CHOICE, "A B C", 0), (CHOICE, "A or B", 0), (CHOICE, "The answer is A or B", 0),
    (CHOICE, "A dog", 1), (CHOICE, "Apples", 0), (CHOICE, "", 0),
    ({"scorer": "regex", "answer": r"\b\d{4}-\d{2}\b"}, "in 2024-05", 1),
    ({"scorer": "regex", "answer": "^yes$", "ignore_case": True}, "YES", 1),
    ({"scorer": "regex", "answer": "^yes$"}, "yes, no", 0),
])  # fmt: skip
def test_replies_are_scored_as_the_rows_scorer_says(tmp_path, row, reply, wanted):
    assert score(tmp_path, row, reply) == wanted


PYTHON = {"scorer": "python", "tests": ["add(1, 2) == 3", "assert add('a', 'b') == 'ab'"]}


@pytest.mark.parametrize(("values", "wanted"), [(("3", "'ab'"), 1), (("3", "'ba'"), 0), (("3", None), 0)])
def test_programs_run_in_the_sandbox_and_their_values_are_compared_here(tmp_path, values, wanted):
    runner = MagicMock()
    runner.run.return_value = [CallOutcome(value, None if value else "TypeError") for value in values]
    assert score(tmp_path, PYTHON, "```python\ndef add(a, b):\n    return a + b\n```", runner) == wanted
    assert runner.run.call_args.kwargs == {"entry_point": "add", "calls": ["(1, 2)", "('a', 'b')"]}
    assert score(tmp_path, PYTHON, "no program", runner) == 0


def test_a_regular_expression_that_takes_for_ever_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(scorers, "MATCH_SECONDS", 0.05)
    skill = built(tmp_path, {"prompt": "What?", "scorer": "regex", "answer": "^(x+x+)+y$"})
    data = samples_of(skill)[0].data
    verdict = scorers.SCORERS["regex"].judge("x" * 5000, data)
    assert verdict.score == 0
    assert "took over 0.05 s" in verdict.reason


GOOD = {"prompt": "What?", "answer": "that"}


@pytest.mark.parametrize(("row", "fault"), [
    ("{", "line 2"), ("[1]", "no JSON object"), ({"answer": "x"}, "prompt must be a text"),
    ({"prompt": " ", "answer": "x"}, "prompt must be a text"), ({"prompt": "a"}, "answer must be a text"),
    ({"prompt": "a", "answer": []}, "answer must be a text"), ({"prompt": "a", "answer": ""}, "answer must be a text"),
    ({"prompt": "a", "answer": "x", "scorer": "guess"}, "scorer must be one of exact"),
    ({"prompt": "a", "answer": "x", "scorer": ["exact"]}, "scorer must be one of exact"),
    ({"prompt": "a", "answer": "x", "tolerance": 1}, "unknown key 'tolerance'"),
    ({"prompt": "a", "answer": "x", "ignore_case": "yes"}, "ignore_case must be true or false"),
    ({"prompt": "a", "answer": "x", "id": 7}, "id must be a text"),
    ({"prompt": "a", "answer": "many", "scorer": "number"}, "answer must be a number"),
    ({"prompt": "a", "answer": True, "scorer": "number"}, "answer must be a number"),
    ({"prompt": "a", "answer": 1, "tolerance": -1, "scorer": "number"}, "tolerance"),
    ({"prompt": "a", "answer": "A", "scorer": "choice"}, "choices must be a list"),
    ({"prompt": "a", "answer": "D", "choices": ["x", "y"], "scorer": "choice"}, "letter from A to B"),
    ({"prompt": "a", "answer": "x", "choices": ["x", "x"], "scorer": "choice"}, "differ"),
    ({"prompt": "a", "answer": "(", "scorer": "regex"}, "no regular expression"),
    ({"prompt": "a", "answer": "x", "example": "y", "scorer": "regex"}, "example must be"),
    ({"prompt": "a", "tests": [], "scorer": "python"}, "tests must be a list"),
    ({"prompt": "a", "tests": ["f(1) is 2"], "scorer": "python"}, "a test must be a call"),
    ({"prompt": "a", "tests": ["f(open('x')) == 2"], "scorer": "python"}, "a test must be a call"),
    ({"prompt": "a", "tests": ["f(1) == 2", "g(1) == 2"], "scorer": "python"}, "one function, got f, g"),
    *((row, "half a character") for row in (
        r'{"prompt": "half \ud83d", "answer": "x"}', r'{"prompt": "a", "answer": "\ud83d"}',
        r'{"prompt": "a", "answer": ["x", "\udc00"]}', r'{"prompt": "a", "answer": "x", "id": "\ud83d"}',
        r'{"prompt": "a", "answer": "x", "kind": "\ud83d"}', r'{"prompt": "a", "answer": "x", "system": "\ud83d"}',
        r'{"prompt": "a", "scorer": "choice", "choices": ["\ud83d", "b"], "answer": "b"}',
        r'{"prompt": "a", "scorer": "regex", "answer": "x|\ud83d", "example": "x"}',
        r'{"prompt": "a", "scorer": "python", "tests": ["f(\"\ud83d\") == 1"]}',
    )),
    *((f'{{"prompt": "a", "scorer": "number", {values}}}', fault) for values, fault in (
        (f'"answer": 1{"0" * 401}', "answer must be a number"), (f'"answer": 1{"0" * 5000}', "digits"),
        (f'"answer": 1, "tolerance": 1{"0" * 401}', "tolerance must be a number"),
        ('"answer": NaN', "answer must be a number"), ('"answer": 1, "tolerance": Infinity', "tolerance must be"),
    )),
])  # fmt: skip
def test_bad_rows_are_named_with_their_line(tmp_path, row, fault):
    with pytest.raises(DataUnavailable, match=r"line 2: ") as refusal:
        built(tmp_path, GOOD, row, GOOD | {"prompt": "Another?"})
    assert fault in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_all_bad_rows_are_told_at_once_and_only_the_first_are_spelled_out(tmp_path):
    with pytest.raises(DataUnavailable, match=r"line 1: .*line 5: .*\(and 2 more\)"):
        built(tmp_path, *["{"] * 7)


def test_an_id_that_is_given_twice_is_named_with_both_lines(tmp_path):
    with pytest.raises(DataUnavailable, match=r"line 3: .*that of line 1, too"):
        built(tmp_path, GOOD | {"id": "a"}, GOOD, GOOD | {"id": "a"})


@pytest.mark.parametrize("data", [None, ".", "/nowhere.jsonl"])
def test_a_file_is_wanted(data):
    with pytest.raises(DataUnavailable, match="set the skill's `data` to a file"):
        build_skill("jsonl", counts={}, source=Source(data=data))


def test_the_halves_are_drawn_by_the_seed_and_the_same_prompt_is_never_in_both(tmp_path):
    rows = [{"prompt": f"What is {n}?", "answer": str(n)} for n in range(60)]
    rows += [{"prompt": f"what is  {n}?", "answer": f"{n}."} for n in range(60)]
    halves = {}
    for seed in (0, 1):
        skill = built(tmp_path, *rows, split_seed=seed)
        one, other = ({sample.data["prompt"].casefold().replace("  ", " ") for sample in skill.samples(split)}
                      for split in ("optimization", "test"))  # fmt: skip
        assert not one & other
        assert len(one | other) == 60
        halves[seed] = one
    assert halves[0] != halves[1]
    with pytest.raises(DataUnavailable, match="samples were asked for"):
        built(tmp_path, *rows, counts={"test": 1000})


def test_system_text_and_a_prompt_of_ones_own_are_shown(tmp_path):
    (tmp_path / "prompt.md").write_text("Be brief.\n\n{problem}")
    rows = [{"prompt": "Which?", "scorer": "choice", "choices": ["x", "y"], "answer": "x", "system": "You choose."}]
    skill = built(tmp_path, *rows, prompt_file=str(tmp_path / "prompt.md"))
    assert skill.initial_messages(samples_of(skill)[0]) == [
        {"role": "system", "content": "You choose."},
        {"role": "user", "content": "Be brief.\n\nWhich?\nA. x\nB. y"},
    ]
    assert skill.origin.prompt.startswith("sha256:")
    assert skill.origin.version == "mine.jsonl"


def test_rows_without_a_reply_that_solves_them_say_so(tmp_path):
    for row in ({"scorer": "regex", "answer": "x"}, {"scorer": "python", "tests": ["f(1) == 1"]}):
        skill = built(tmp_path, {"prompt": "a", **row})
        with pytest.raises(NoReference):
            skill.gold_replies(samples_of(skill)[0])


def test_several_files_are_several_skills_by_names_of_their_own(tmp_path):
    file = written(tmp_path, *({"prompt": f"{n}?", "answer": "x"} for n in range(20)))
    counts = {"data": file, "optimization": 2, "test": 2}
    values = {
        "skills": [{"name": f"jsonl:{name}", **counts} for name in ("trivia", "sums")],
        "experts": {"source": {"jsonl:trivia": "someone/trivia", "jsonl:sums": "someone/sums"}},
    }
    config = parse_config(values)
    assert config.skill_names == ("trivia", "sums")
    assert config.trained == ()
    skill = build_skill("jsonl:trivia", counts={}, source=Source(data=file))
    assert {sample.skill for sample in samples_of(skill)} == {skill.name} == {"trivia"}
    for name in ("jsonl:", "jsonl:UP", "jsonl:coding"):
        with pytest.raises(SkillUnavailable):
            find(name)
    values["skills"][1] = values["skills"][0]
    with pytest.raises(ConfigError, match="skills must differ"):
        parse_config(values)
