"""The endpoint that users run themselves: vLLM's own OpenAI server, in a process of its own."""

import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from cycleqd.models.causal_lm import ChatRequest, open_engine
from cycleqd.models.causal_lm.endpoint import EndpointEngine, EndpointUnavailable

pytestmark = [pytest.mark.vllm, pytest.mark.slow]

START_SECONDS = 900  # 100 on two busy cores
OPTIONS = {
    "served-model-name": "tiny",
    "dtype": "float32",
    "max-model-len": "512",
    "kv-cache-memory-bytes": "100000000",
    "block-size": "32",
    "generation-config": "vllm",  # the model's sampling defaults must not leak into greedy decoding
}


@pytest.fixture(scope="module")
def url(tiny_tied, tmp_path_factory):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # Not `vllm serve`: the command asks for the version of a package called vllm, which the CPU build is not.
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(tiny_tied)]
    command += ["--host", "127.0.0.1", "--port", str(port), "--enforce-eager", "--disable-log-stats"]
    command += [part for name, value in OPTIONS.items() for part in (f"--{name}", value)]
    folder = tmp_path_factory.mktemp("server")
    log = folder / "log.txt"
    with log.open("w") as output:
        environment = {**os.environ, "VLLM_ENABLE_V1_MULTIPROCESSING": "1", "VLLM_NO_USAGE_STATS": "1"}
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
