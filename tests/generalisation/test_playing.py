"""What scores are kept by."""

import pytest

from cycleqd.generalisation.definitions import benchmarks
from cycleqd.generalisation.playing import HarnessBenchmark
from cycleqd.generalisation.results import BenchmarkScore, Scores
from cycleqd.generalisation.subjects import of_checkpoint, of_run

pytest.importorskip("lm_eval", reason="lm-eval is not installed: pip install 'cycleqd[generalise]'")

from cycleqd.generalisation.harness import harness_module
from cycleqd.generalisation.tasks import prepare


def is_found(folder, name, group, data):
    """Whether a score is used that an older version has kept."""
    benchmark, prepared = benchmarks()[name], prepare(benchmarks()[name], data=str(data))
    before = group.identity | {
        "benchmark": benchmark.model_dump_json(),
        "harness": f"lm-eval {harness_module().__version__}",
        "data": prepared.data_hash,
        "weights": "base",
    }
    values = {"model": "base", "benchmark": name, "fingerprint": before, "score": 0.5, "problems": {"0": 0.5}}
    Scores(folder).keep(BenchmarkScore(**values, data="fixture", source="file.jsonl", seconds=1.0))
    return Scores(folder).find(name, HarnessBenchmark(prepared).fingerprint(group) | {"weights": "base"}) is not None


def test_replies_in_a_chat_are_not_taken_for_those_to_texts(tmp_path, data_folder, seeing_run):
    (group,) = of_run(seeing_run, engine="vllm", max_model_len=None)
    assert not is_found(tmp_path, "gsm8k", group, data_folder)
    assert is_found(tmp_path, "hellaswag", group, data_folder)  # of a chat there are none


def test_what_was_never_asked_in_a_chat_is_kept(tmp_path, data_folder, seeing_run, long_tiny):
    (plain,) = of_checkpoint(str(long_tiny), engine="vllm", max_model_len=None, name="plain")
    (seeing,) = of_run(seeing_run, engine="transformers", max_model_len=None)
    assert is_found(tmp_path, "gsm8k", plain, data_folder)
    assert is_found(tmp_path, "gsm8k", seeing, data_folder)
