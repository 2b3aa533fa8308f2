import json
import math

import pytest
from pydantic import ValidationError

from cycleqd.generalisation.catalogue import chosen
from cycleqd.generalisation.definitions import benchmarks
from cycleqd.generalisation.metric import Metric
from cycleqd.generalisation.results import BenchmarkScore, Scores, key_of, markdown, table, write_table
from cycleqd.generalisation.scorers import squad2
from cycleqd.statistics import wilson


def finished(model, name, right, n, **fingerprint):
    return BenchmarkScore(
        model=model,
        benchmark=name,
        fingerprint={"weights": model, **fingerprint},
        score=right / n,
        problems={f"{name}/{number}": float(number < right) for number in range(n)},
        data=benchmarks()[name].state(n),
        source="file.jsonl",
        seconds=1.5,
    )


def test_a_kept_score_is_found_by_all_that_it_depends_on_and_nothing_else(tmp_path):
    scores = Scores(tmp_path)
    score = finished("a/../model", "gsm8k", 5, 30, data="x")
    path = scores.keep(score)
    assert path.parent == tmp_path / "scores/gsm8k"
    assert scores.find("gsm8k", {"data": "x", "weights": "a/../model"}) == score
    assert scores.find("gsm8k", {"data": "y", "weights": "a/../model"}) is None
    assert scores.find("mmlu", score.fingerprint) is None


def test_a_score_that_was_cut_short_is_not_found(tmp_path):
    scores = Scores(tmp_path)
    score = finished("m", "gsm8k", 5, 30)
    path = scores.keep(score)
    path.write_text(path.read_text()[:50])
    assert scores.find("gsm8k", score.fingerprint) is None
    scores.keep(score)
    assert scores.find("gsm8k", score.fingerprint) == score


def test_numbers_without_bounds_are_kept_and_told(tmp_path):
    metrics = (
        Metric(name="perplexity", value=math.inf, low=None, high=None, n=3, share=False, higher_is_better=False),
        Metric(name="bleu", value=12.5, low=10.0, high=15.0, n=3, share=False),
    )
    score = finished("m", "gsm8k", 1, 3).model_copy(
        update={"benchmark": "lm_eval:own/task", "score": math.inf, "problems": {}, "metrics": metrics}
    )
    scores = Scores(tmp_path)
    scores.keep(score)
    assert scores.find(score.benchmark, score.fingerprint) == score
    own = chosen(["gsm8k"])[0].model_copy(update={"name": score.benchmark, "title": "own"})
    content = table({"m": {own.name: score}}, {"m": "m"}, [own])
    assert json.loads(json.dumps(content, allow_nan=False)) == content
    assert content["rows"]["m"][own.name]["score"] is None
    text = markdown(content, [own], {})
    assert "| own, perplexity | 4 | fixture | 3 | – |" in text
    assert "| · own: bleu |  |  | 3 | 12.5 (10–15) |" in text


def test_a_score_of_the_table_is_a_mean_of_problems():
    score = finished("m", "gsm8k", 1, 3)
    for wrong in ({"problems": {}}, {"score": 1.5}):
        with pytest.raises(ValidationError, match="at least one problem"):
            BenchmarkScore.model_validate(score.model_dump() | wrong)


def test_keys_do_not_depend_on_the_order_of_parts():
    assert key_of({"a": "1", "b": "2"}) == key_of({"b": "2", "a": "1"})


def test_the_table_has_intervals_and_multiples_of_the_base(tmp_path):
    rows = {
        "base": {"gsm8k": finished("base", "gsm8k", 10, 40), "mmlu": finished("base", "mmlu", 0, 10)},
        "final": {"gsm8k": finished("final", "gsm8k", 15, 40), "mmlu": finished("final", "mmlu", 3, 10)},
        "other": {"gsm8k": finished("other", "gsm8k", 1, 40)},
    }
    wanted = chosen(["gsm8k", "mmlu", "bigcodebench_instruct"])
    content = table(rows, {"base": "base", "final": "base"}, wanted)
    low, high = wilson(15 / 40, 40)
    assert content["rows"]["final"]["gsm8k"] == {"score": 0.375, "low": low, "high": high, "n": 40, "of_base": 1.5}
    assert content["rows"]["base"]["gsm8k"]["of_base"] == 1.0
    assert content["rows"]["final"]["mmlu"]["of_base"] is None  # of nothing there is no multiple
    assert content["rows"]["other"]["gsm8k"]["of_base"] is None
    assert content["data"] == {"mmlu": "fixture", "gsm8k": "part"}
    text = markdown(content, wanted, {"bigcodebench_instruct": "no data"}, ["a remark"])
    assert "| GSM8K | 4 | part | 40 | 25.0 (14–40) / 1.00 | 37.5 (24–53) / 1.50 | 2.5 (0–13) |" in text
    assert "| mean of score / base |  |  |  | 1.000 | 1.500 |  |" in text
    assert "Not scored: BigCodeBench Instruct: no data." in text
    assert "a remark." in text
    write_table(tmp_path / "new", content, text)
    assert json.loads((tmp_path / "new/table3.json").read_text()) == content


@pytest.mark.parametrize(
    ("answers", "reply", "exact", "f1"),
    [
        (["Rome", "the city of Rome"], " rome.", 1.0, 1.0),
        (["Rome"], "in Rome", 0.0, 2 / 3),
        (["Rome"], "unanswerable", 0.0, 0.0),
        ([], " Unanswerable.", 1.0, 1.0),
        ([], "Rome", 0.0, 0.0),
    ],
)
def test_squad_answers_are_compared_as_by_its_own_script(answers, reply, exact, f1):
    assert squad2({"answers": {"text": answers}}, [reply]) == pytest.approx({"exact": exact, "f1": f1})
