"""What `ServerEngine` makes of servers that are not as they should be; the real one has tests of its own."""

from contextlib import ExitStack, contextmanager

import pytest

from cycleqd.models.causal_lm import ChatRequest, WeightsNotLoaded, open_engine
from cycleqd.models.causal_lm.endpoint import EndpointUnavailable
from tests.models.causal_lm.adapters import factored
from tests.models.causal_lm.played_server import Played

ASKED = [{"role": "user", "content": "two and two?"}]


@pytest.fixture
def played(tiny_tied):
    return Played(tiny_tied)


@contextmanager
def engine_on(base, *servers, **settings):
    with ExitStack() as stack:
        urls = [stack.enter_context(server.running())[1] for server in servers]
        engine = open_engine("server", base, urls=urls, max_model_len=512, **settings)
        stack.callback(engine.close)
        yield engine


def test_a_conversation_stays_with_one_server_and_all_servers_have_some(tiny_tied):
    servers = [Played(tiny_tied), Played(tiny_tied)]
    with engine_on(tiny_tied, *servers) as engine:
        begun = [[{"role": "user", "content": f"task {n}"}] for n in range(16)]
        later = [[*one, {"role": "assistant", "content": "x"}, {"role": "user", "content": "on"}] for one in begun]
        for turns in (begun, later):
            engine.chat([ChatRequest(messages, 5) for messages in turns])
        shares = [len(server.asked) for server in servers]
        assert sum(shares) == 32
        assert all(share > 0 and share % 2 == 0 for share in shares)
        engine.load("child", factored(tiny_tied, 1))
        assert [len(server.adapters) for server in servers] == [1, 1]
        assert {engine.chat([ChatRequest(one, 5)])[0].text for one in begun} == {servers[0].adapters[0]}
    assert [server.adapters for server in servers] == [[], []]


def test_an_adapter_that_one_server_ignores_is_found_out(tiny_tied):
    servers = [Played(tiny_tied), Played(tiny_tied)]
    servers[1].serves = lambda model: "base"
    with engine_on(tiny_tied, *servers) as engine:
        with pytest.raises(WeightsNotLoaded, match="still gives the base"):
            engine.load("child", factored(tiny_tied, 1))
        with pytest.raises(RuntimeError, match="the last load failed"):
            engine.chat([ChatRequest(ASKED, 5)])


def test_a_load_that_fails_leaves_no_adapter_behind(tiny_tied, played):
    with engine_on(tiny_tied, played) as engine:
        engine.load("first", factored(tiny_tied, 1))
        played.serves = lambda model: "base"
        with pytest.raises(WeightsNotLoaded):
            engine.load("second", factored(tiny_tied, 2))
        assert [name.split("-")[1] for name in played.adapters] == ["second"]
    assert played.adapters == []


def test_a_base_that_changed_meanwhile_is_found_out_and_rounding_is_not(tiny_tied, played):
    with engine_on(tiny_tied, played) as engine:
        engine.load("child", factored(tiny_tied, 1))
        played.noise = 0.01
        engine.load("base", None)
        engine.load("child", factored(tiny_tied, 1))
        played.noise = 1.0
        with pytest.raises(WeightsNotLoaded, match="not its"):
            engine.load("base", None)


def test_a_server_without_adapters_is_refused_with_how_to_start_it(tiny_tied, played):
    played.takes_adapters = False
    with (
        engine_on(tiny_tied, played) as engine,
        pytest.raises(
            EndpointUnavailable,
            match=r"status 404.*RUNTIME_LORA_UPDATING=True, --enable-lora and --max-lora-rank 8",
        ),
    ):
        engine.load("child", factored(tiny_tied, 1))


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ({"tokens": lambda text: [0]}, "whose tokenizer is not that of model.name"),
        ({"models": [{"id": "base", "max_model_len": 256}]}, "reads 256 tokens: start it with --max-model-len 512"),
        ({"models": []}, "lists no base model"),
        ({"models": [{"id": "child", "parent": "base"}]}, "lists no base model"),
    ],
)
def test_a_server_that_is_not_fit_is_refused_at_the_start(tiny_tied, played, fault, said):
    vars(played).update(fault)
    with pytest.raises(EndpointUnavailable, match=said), engine_on(tiny_tied, played):
        pass


def test_a_server_that_is_down_is_refused_at_the_start(tiny_tied):
    with pytest.raises(EndpointUnavailable, match="nothing answers"):
        open_engine("server", tiny_tied, urls=["http://127.0.0.1:9"])
