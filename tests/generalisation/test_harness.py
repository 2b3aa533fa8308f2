"""Our engines behind lm-evaluation-harness, beside the harness' own transformers model."""

import pytest

pytest.importorskip("lm_eval", reason="lm-eval is not installed: pip install 'cycleqd[generalise]'")

from hypothesis import given, settings
from hypothesis import strategies as st
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from cycleqd.generalisation import local_data
from cycleqd.generalisation.definitions import benchmarks
from cycleqd.generalisation.engine_model import ChatModel
from cycleqd.generalisation.scoring import model_of, score
from cycleqd.generalisation.tasks import prepare, spread
from cycleqd.models.causal_lm import Reply
from tests.generalisation.conftest import LONGEST

HARNESS = [name for name, benchmark in benchmarks().items() if benchmark.kind in ("likelihood", "generation")]


def asked(kind, *arguments):
    return [Instance(request_type=kind, doc={}, arguments=each, idx=n) for n, each in enumerate(arguments)]


@pytest.mark.parametrize("name", HARNESS)
def test_scores_are_those_of_the_harness_own_model(name, engine, theirs, data_folder):
    benchmark = benchmarks()[name]
    short = dict(benchmark.define)
    if benchmark.kind == "generation":  # random models never end
        short["generation_kwargs"] = {"do_sample": False, "until": ["\n", "x"], "max_gen_toks": 12}
    prepared = prepare(benchmark.model_copy(update={"define": short}), data=str(data_folder))
    assert (prepared.state, prepared.n) == ("fixture", prepared.problems)
    ours = score(prepared, model_of(engine))
    assert len(ours) == prepared.n
    assert ours == score(prepared, theirs)


def test_log_likelihoods_are_those_of_the_harness_own_model(engine, theirs):
    texts = [("the cat", " sat"), ("the cat", " stood"), ("", "nothing before"), ("trailing  ", "space")]
    requests = asked("loglikelihood", *texts, ("a" * 3000, "b"))
    ours, expected = model_of(engine).loglikelihood(requests), theirs.loglikelihood(requests, disable_tqdm=True)
    for (mine, my_greedy), (their, their_greedy) in zip(ours[:-1], expected[:-1], strict=True):
        assert mine == pytest.approx(their, abs=1e-4)
        assert my_greedy == their_greedy
    assert ours[-1][0] < 0  # too long for the model: cut on the left, two tokens earlier than theirs


def test_whole_texts_are_as_likely_as_for_the_harness_own_model(engine, long_tiny):
    theirs = HFLM(pretrained=str(long_tiny), device="cpu", dtype="float32", max_length=LONGEST - 2, batch_size=4)
    requests = asked("loglikelihood_rolling", ("a short text",), ("long " * 900,))
    ours = model_of(engine).loglikelihood_rolling(requests)
    assert ours == pytest.approx(theirs.loglikelihood_rolling(requests, disable_tqdm=True), rel=1e-5)


def test_replies_are_those_of_the_harness_own_model(engine, theirs):
    requests = asked(
        "generate_until",
        ("Q: who?\nA:", {"until": ["\n"], "do_sample": False, "max_gen_toks": 20}),
        ("word " * 500, {"until": ["e", " "], "max_gen_toks": 8}),
        ("<|im_start|>user", {"until": [], "do_sample": False, "temperature": 0.0, "max_gen_toks": 5}),
    )
    assert model_of(engine).generate_until(requests) == theirs.generate_until(requests, disable_tqdm=True)


def test_random_replies_are_refused(engine):
    requests = asked("generate_until", ("Q", {"until": ["\n"], "do_sample": True, "temperature": 0.7}))
    with pytest.raises(ValueError, match="greedily"):
        model_of(engine).generate_until(requests)


def test_progress_counts_up_to_all_requests(engine):
    told = []
    model = model_of(engine, lambda done, total: told.append((done, total)))
    model.loglikelihood(asked("loglikelihood", *[(f"context {n}", " yes") for n in range(300)]))
    assert told[-1] == (300, 300)
    assert len(told) > 1


class Chatty:
    """An engine that only chats, and says what it was asked for, with a stop word behind it."""

    name = "endpoint"
    loaded = "chatty@nowhere"

    def chat(self, requests):
        return [Reply(f"\n{request.messages[-1]['content']} END more", 1, 1, "stop") for request in requests]


def test_an_engine_that_only_chats_replies_but_gives_no_log_likelihoods():
    model = model_of(Chatty())
    assert isinstance(model, ChatModel)
    assert model.generate_until(asked("generate_until", ("hello", {"until": [" END"]}))) == ["hello"]
    with pytest.raises(ValueError, match="no log-likelihoods"):
        model.loglikelihood(asked("loglikelihood", ("a", "b")))


def test_problems_of_the_hub_are_put_as_local_copies_of_them_are(data_folder, tmp_path, monkeypatch):
    """What stands in for the hub gives the rows of the local files, with the hub's fields and parts."""
    import datasets

    hub = {"openai/gsm8k": ("gsm8k", "test"), "mandarjoshi/trivia_qa": ("triviaqa", "validation")}
    hub |= {"rajpurkar/squad_v2": ("squad2", "validation"), "allenai/openbookqa": ("openbookqa", "test")}
    hub |= {"Muennighoff/xwinograd": ("xwinograd", "test")}

    def load_dataset(path, name=None, **_):
        benchmark, test = hub[path]
        files = local_data.find(benchmark, benchmarks()[benchmark].local, str(data_folder))
        [splits] = local_data.read(benchmark, files).values()
        parts = {test: splits[test], "train": splits[test]} | ({"validation": splits[test]} if test == "test" else {})
        return {part: datasets.Dataset.from_list(rows) for part, rows in parts.items()}

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    monkeypatch.delenv("CYCLEQD_DATA_DIR", raising=False)
    for name, _ in hub.values():
        there = prepare(benchmarks()[name])
        here = prepare(benchmarks()[name], data=str(data_folder))
        assert (there.source, there.n) == ("hub", here.n)
        [ours], [theirs] = there.tasks.values(), here.tasks.values()
        shown = [[task.doc_to_text(doc) for doc in task.eval_docs] for task in (ours, theirs)]
        assert shown[0] == shown[1]
        assert ours.config.num_fewshot == theirs.config.num_fewshot == benchmarks()[name].shots
        ours.build_all_requests(limit=1)
        assert ours.instances


@settings(max_examples=40)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=6), st.integers(1, 100))
def test_a_limit_takes_problems_evenly_and_each_once(many, limit):
    sizes = {str(number): size for number, size in enumerate(many)}
    taken = spread(sizes, limit)
    assert sum(map(len, taken.values())) == min(limit, sum(sizes.values()))
    for name, numbers in taken.items():
        assert numbers == sorted(set(numbers))
        assert numbers[-1] < sizes[name]
    counts = [len(taken.get(name, [])) for name in sizes]
    assert all(count == sizes[name] or count >= max(counts) - 1 for name, count in zip(sizes, counts, strict=True))
    assert spread(sizes, None) == {name: list(range(size)) for name, size in sizes.items()}
