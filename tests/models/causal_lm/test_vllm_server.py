"""The server that users run themselves, vLLM's own in a process of its own: as an endpoint, and as an engine."""

import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from cycleqd.models.causal_lm import ChatRequest, open_engine
from cycleqd.models.causal_lm.adapter_server import server_version
from cycleqd.models.causal_lm.endpoint import EndpointEngine, EndpointUnavailable
from tests.models.causal_lm.adapters import factored
from tests.tiny_models import random_vector

pytestmark = [pytest.mark.vllm, pytest.mark.slow]

START_SECONDS = 900  # 100 on two busy cores
OPTIONS = {
    "served-model-name": "tiny",
    "dtype": "float32",
    "max-model-len": "512",
    "kv-cache-memory-bytes": "100000000",
    "block-size": "32",
    "max-lora-rank": "16",
    "max-loras": "2",
    "generation-config": "vllm",  # the model's sampling defaults must not leak into greedy decoding
}


@pytest.fixture(scope="module")
def url(tiny_tied, tmp_path_factory):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # Not `vllm serve`: the command asks for the version of a package called vllm, which the CPU build is not.
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(tiny_tied)]
    command += ["--host", "127.0.0.1", "--port", str(port), "--enforce-eager", "--disable-log-stats", "--enable-lora"]
    command += [part for name, value in OPTIONS.items() for part in (f"--{name}", value)]
    folder = tmp_path_factory.mktemp("server")
    log = folder / "log.txt"
    with log.open("w") as output:
        environment = {**os.environ, "VLLM_ENABLE_V1_MULTIPROCESSING": "1", "VLLM_NO_USAGE_STATS": "1"}
        environment["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] = "True"
        environment["VLLM_RPC_BASE_PATH"] = str(folder)  # its processes leave their sockets behind
        server = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env=environment, start_new_session=True
        )
        try:
            _wait(server, f"http://127.0.0.1:{port}", log)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            try:
                server.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(server.pid, signal.SIGKILL)
                server.wait()


def _wait(server, url, log):
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        assert server.poll() is None, log.read_text()[-2000:]
        engine = EndpointEngine(url, "tiny")
        try:
            return engine.check()
        except EndpointUnavailable:
            time.sleep(1)
        finally:
            engine.close()
    pytest.fail(f"the server does not answer: {log.read_text()[-2000:]}")


def test_vllms_server_says_what_our_own_engine_says(url, tiny_tied):
    batch = [ChatRequest([{"role": "user", "content": f"{n} hello"}], 12) for n in range(6)]
    batch += [ChatRequest([{"role": "user", "content": "x" * 600}], 12)]  # longer than the model reads
    ours = open_engine("transformers", tiny_tied, dtype="float32", max_model_len=512)
    wanted = ours.chat(batch)
    ours.close()
    stop = wanted[0].text[4:6]
    endpoint = EndpointEngine(url, "tiny")
    try:
        replies = endpoint.chat(batch)
        cut = endpoint.chat([batch[0]._replace(stop=(stop,))])[0]
    finally:
        endpoint.close()
    assert [reply.text for reply in replies] == [reply.text for reply in wanted]
    assert [reply.finish_reason for reply in replies] == [reply.finish_reason for reply in wanted]
    assert replies[:6] == wanted[:6]
    assert cut.text == wanted[0].text.partition(stop)[0]
    assert cut.finish_reason == "stop"


def test_vllms_server_names_the_models_that_it_has(url):
    endpoint = EndpointEngine(url, "huge")
    with pytest.raises(EndpointUnavailable, match="no model 'huge'; there are tiny"):
        endpoint.check()
    endpoint.close()


BATCH = [ChatRequest([{"role": "user", "content": f"{n} hello"}], 12, scope=f"{n % 2}") for n in range(6)]
TOO_LONG = ChatRequest([{"role": "user", "content": "x" * 600}], 12)


@pytest.fixture
def engine(url, tiny_tied, tmp_path):
    opened = open_engine("server", tiny_tied, urls=(url,), max_model_len=512, adapters=tmp_path / "adapters")
    yield opened
    opened.close()


def test_children_in_a_server_say_what_they_say_merged_in_this_process(engine, tiny_tied, tmp_path):
    ours = open_engine("transformers", tiny_tied, dtype="float32", max_model_len=512)
    children = {f"child{seed}": factored(tiny_tied, seed) for seed in (1, 2)}
    replies = {}
    for genome, vector in [("base", None), *children.items(), ("base", None), ("child1", children["child1"])]:
        for one in (engine, ours):
            one.load(genome, vector)
        assert engine.loaded == genome
        found = engine.chat([*BATCH, TOO_LONG])
        assert found == ours.chat([*BATCH, TOO_LONG])
        assert replies.setdefault(genome, found) == found
    assert len({tuple(reply.text for reply in found) for found in replies.values()}) == 3
    assert engine.busy_seconds() > 0
    ours.close()


def test_an_engine_leaves_nothing_in_the_server_and_in_the_folder(engine, url, tiny_tied, tmp_path):
    engine.load("child1", factored(tiny_tied, 1))
    assert len(list((tmp_path / "adapters").glob("*/*/adapter_model.safetensors"))) == 1
    engine.load("child2", factored(tiny_tied, 2))
    assert len(list((tmp_path / "adapters").glob("*/*/adapter_model.safetensors"))) == 1
    engine.close()
    assert list((tmp_path / "adapters").iterdir()) == []
    endpoint = EndpointEngine(url, "nobody")
    with pytest.raises(EndpointUnavailable, match=r"there are tiny$"):
        endpoint.check()
    endpoint.close()


def test_what_a_server_cannot_load_is_refused_with_the_way_out(engine, tiny_tied):
    with pytest.raises(ValueError, match=r"no LoRA adapter .* set engine.kind to vllm"):
        engine.load("dense", random_vector(tiny_tied, seed=1))
    assert engine.loaded == "base"
    with pytest.raises(EndpointUnavailable, match="--max-lora-rank 36 or more"):
        engine.load("wide", factored(tiny_tied, 1, rank=18))
    with pytest.raises(RuntimeError, match="load weights"):
        engine.chat(BATCH)
    engine.load("base", None)
    assert engine.chat(BATCH[:1])[0].tokens > 0


def test_a_server_tells_its_version(url):
    assert server_version((url,)).startswith("vllm 0.")
