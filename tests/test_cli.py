from __future__ import annotations

import json
import re
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from click.testing import Result
from typer.testing import CliRunner

from cycleqd import cli
from cycleqd.cli import common, start
from cycleqd.cli.show import show
from cycleqd.config import RunConfig, parse_config
from cycleqd.packed_models import BaseModelUnavailable
from cycleqd.preflight.finding import Check
from cycleqd.run.store import RunStore, StoreError
from cycleqd.sandbox import SandboxUnavailable
from tests.report.synthetic import synthetic_run
from tests.run.test_lease import stranger


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables keep their columns whole, and the text goes where the runner listens."""
    monkeypatch.setattr(common.out, "width", 200)
    monkeypatch.setattr(common.err, "width", 200)


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = str(tmp_path_factory.mktemp("runs"))
    synthetic_run(folder, run_id="alpha", generations=4)
    synthetic_run(folder, run_id="beta", skills=("os", "db"), generations=2, planned=9, finished=False)
    return folder


def call(*arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(cli.app, list(arguments), input=stdin)


def text(result: Result) -> str:
    """What a person sees, both streams, without line breaks of the terminal's making."""
    return " ".join((result.stdout + result.stderr).split())


# Help and configuration


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["doctor"],
        ["run"],
        ["config"],
        ["report"],
        ["show"],
        ["export"],
        ["chat"],
        ["evaluate"],
        ["data", "inspect"],
    ]
    + [["show", name] for name in ("runs", "run", "individuals", "individual", "lineage", "episodes")],
)
def test_every_command_explains_itself(command: list[str]) -> None:
    result = call(*command, "--help")
    assert result.exit_code == 0
    if command not in ([], ["show"]):
        assert "Example" in result.stdout


def test_a_printed_configuration_is_one_that_loads() -> None:
    result = call("config", "demo", "--set", "seed=3")
    assert result.exit_code == 0
    assert parse_config(yaml.safe_load(result.stdout)).seed == 3


def test_all_faults_of_a_configuration_come_in_red_without_traceback() -> None:
    result = call("config", "demo", "--set", "seed=-1", "--set", "grid.bins=0")
    assert result.exit_code == 2
    assert "seed" in text(result)
    assert "grid.bins" in text(result)
    assert "Traceback" not in text(result)
    assert result.stdout == ""


@pytest.mark.parametrize(
    "arguments",
    [["--set", "seed=010"], ["--set", "generations=true"], ["--set", "seed=[1"], ["--set", "seed=*a"], ["odd.yaml"]],
)
def test_configuration_that_cannot_be_meant_is_refused_without_traceback(arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "odd.yaml").write_bytes(bytes(range(256)))
    result = call("config", *arguments)
    assert result.exit_code == 2
    assert "Error: " in result.stderr
    assert "Traceback" not in result.output
    assert len(result.stderr.splitlines()) <= 2


@pytest.mark.parametrize(
    ("change", "meant"),
    [
        ("seeds=3", "did you mean seed?"),
        ("engine.knd=vllm", "did you mean engine.kind?"),
        ("skills.0.trian=3", "did you mean skills.0.train?"),
        ("w_max=0.1", "did you mean mutation.w_max?"),
        ("engine.elsewhere=true", "there are kind, urls, adapters, batching"),
        ("engine.strict=true", "did you mean engine.batching=strict?"),
        ("strict=true", "did you mean engine.batching=strict?"),
        ("SEED=3", "did you mean seed?"),
        ("experts.lora.rank=3", "experts.lora: Extra inputs are not permitted; did you mean experts.rank?"),
        ("search.mutation.w_max=0.1", "did you mean mutation.w_max?"),
        ("search.mutation={kind: svd, w_max: 0.1}", "did you mean mutation?"),
        ("baselines.0.scale=[1]", "did you mean baselines.0.scales?"),
        ("skill.0.train=8", "skill is not in the file; did you mean skills?"),
        ("experts.data.os={sources: [{recipe: chat, path: x, subste: y}]}", "experts.data.os.sources.0.subset?"),
        ("skills.os.train=3", "did you mean 1, which is os?"),
        ("skills.7.train=3", "there are 0 (coding), 1 (os), 2 (db)"),
    ],
)
def test_mistyped_setting_comes_with_what_may_be_meant(change: str, meant: str) -> None:
    result = call("config", "demo", "--set", change)
    assert result.exit_code == 2
    assert meant in text(result)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (["search.mutation.w_max=0.1"], "search.mutation: Extra inputs are not permitted"),
        (["baselines.0.scale=[1]"], "baselines.0.scale: Extra inputs are not permitted"),
        (["crossover.kind=ties", "crossover.density=[0.2]"], "crossover.density: Value error, expected one finite"),
        (["crossover.kind=ties", "crossover.density=.nan"], "crossover.density: Value error, expected one finite"),
    ],
)
def test_fault_of_a_setting_that_a_class_has_is_told_once_and_by_its_own_path(changes: list[str], told: str) -> None:
    result = call("config", "demo", *(part for change in changes for part in ("--set", change)))
    assert result.exit_code == 2
    assert "demo: 1 fault(s)" in text(result)
    assert told in text(result)


def test_item_of_a_list_that_a_file_does_not_have_is_refused_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("seed: 1\n")
    result = call("config", str(tmp_path / "mine.yaml"), "--set", "baselines.0.scales=[1]")
    assert result.exit_code == 2
    assert "baselines is not in the file" in text(result)


def test_setting_of_another_class_is_suggested_among_those_of_the_chosen_one() -> None:
    assert "did you mean crossover.density?" in text(
        call("config", "demo", "--set", "crossover.kind=ties", "--set", "crossover.densty=0.2")
    )


def test_debug_shows_the_fault_itself() -> None:
    result = call("--debug", "config", "nowhere.yaml")
    assert result.exit_code == 1
    assert type(result.exception).__name__ == "ConfigError"


# Starting


def fit(config: RunConfig) -> list[Check]:
    return [Check("docker", True, "engine 20.10"), Check("storage", True, config.storage)]


def unfit(config: RunConfig) -> list[Check]:
    return [Check("docker", False, "no engine answers", "start it: make docker"), Check("disk", True, "90 GiB free")]


def test_doctor_says_what_is_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cycleqd.preflight.checks.check", fit)
    result = call("doctor", "demo", "--set", "storage=elsewhere")
    assert result.exit_code == 0
    assert "elsewhere" in text(result)


def test_doctor_fails_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cycleqd.preflight.checks.check", unfit)
    result = call("doctor")
    assert result.exit_code == 1
    assert "no engine answers" in text(result)
    assert "make docker" in text(result)


def flow(monkeypatch: pytest.MonkeyPatch, run: object) -> None:
    """Puts a flow in place of the real one, which needs Docker and a model."""
    module = ModuleType("flows.main")
    module.cycleqd_run = run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "flows.main", module)
    monkeypatch.setattr("cycleqd.cli.start.server", nullcontext)
    monkeypatch.setattr("cycleqd.cli.start._admitted", lambda config, *, rescore: nullcontext())
    monkeypatch.setattr("cycleqd.preflight.checks.check", fit)


def test_run_does_not_start_on_an_unfit_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(config: RunConfig) -> None:
        raise AssertionError("started")

    flow(monkeypatch, never)
    monkeypatch.setattr("cycleqd.preflight.checks.check", unfit)
    result = call("run", "--quiet")
    assert result.exit_code == 1
    assert "docker" in text(result)
    assert "90 GiB" not in text(result)


def test_run_prints_tables_and_where_the_report_lies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from cycleqd.report import write_report

    def work(config: RunConfig) -> None:
        write_report(synthetic_run(config.storage, run_id=config.run_id, skills=("db",), generations=1))

    flow(monkeypatch, work)
    result = call("run", "demo", "--set", "run_id=mine", "--set", f"storage={tmp_path}")
    assert result.exit_code == 0, result.output
    for part in ("Scores on the test split", "Where the time went", "CycleQD", f"{tmp_path}/mine/report/index.html"):
        assert part in text(result)


@contextmanager
def signals_kept() -> Iterator[None]:
    """Puts back what listens to signals, as a command that was stopped leaves nobody who does."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, listener in before.items():
            signal.signal(number, listener)


def test_an_interrupted_run_says_how_to_continue_and_a_second_signal_changes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(config: RunConfig) -> None:
        raise KeyboardInterrupt

    flow(monkeypatch, interrupted)
    with signals_kept():
        result = call("run", "demo", "--set", "seed=1")
        listening = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert result.exit_code == 130
    assert "cycleqd run demo --set seed=1" in text(result)
    assert listening == [signal.SIG_IGN, signal.SIG_IGN]


@pytest.mark.parametrize(
    "fault", [SandboxUnavailable("no Docker engine"), StoreError("other settings"), BaseModelUnavailable("no hub")]
)
def test_infrastructure_faults_are_one_line(monkeypatch: pytest.MonkeyPatch, fault: Exception) -> None:
    def failing(config: RunConfig) -> None:
        raise fault

    flow(monkeypatch, failing)
    result = call("run")
    assert result.exit_code == 2
    assert f"Error: {fault}" in text(result)


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(config: RunConfig) -> None:
        raise KeyError("bug")

    flow(monkeypatch, broken)
    assert isinstance(call("run").exception, KeyError)


def test_a_run_that_another_process_works_on_ends_in_one_line_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def never(config: RunConfig) -> None:
        raise AssertionError("started")

    admitted = start._admitted
    flow(monkeypatch, never)
    monkeypatch.setattr("cycleqd.cli.start._admitted", admitted)
    store = synthetic_run(str(tmp_path), run_id="busy")
    stranger(store, expires=time.time() + 3600)  # longer than a busy machine takes to get there
    configuration = tmp_path / "busy.yaml"
    configuration.write_text(store.config().to_yaml())
    result = call("run", str(configuration))
    assert result.exit_code == 2
    assert "Error: run 'busy' is being written to by process 7 on far" in text(result)
    assert "Traceback" not in text(result)


def test_scores_are_measured_anew_only_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    @contextmanager
    def admitted(config: RunConfig, *, rescore: bool) -> Iterator[None]:
        asked.append(rescore)
        raise StoreError("that is all")
        yield

    flow(monkeypatch, lambda config: None)
    monkeypatch.setattr("cycleqd.cli.start._admitted", admitted)
    call("run")
    call("run", "--rescore")
    assert asked == [False, True]


def test_a_terminated_run_says_how_to_continue(monkeypatch: pytest.MonkeyPatch) -> None:
    def terminated(config: RunConfig) -> None:
        signal.raise_signal(signal.SIGTERM)
        raise AssertionError("went on")

    flow(monkeypatch, terminated)
    with signals_kept():
        result = call("run", "demo", "--set", "seed=1")
    assert result.exit_code == 143
    assert "cycleqd run demo --set seed=1" in text(result)


# Looking


def test_runs_are_listed_with_their_progress(storage: str) -> None:
    result = call("show", "runs", "--storage", storage)
    assert result.exit_code == 0
    assert "alpha" in text(result)
    assert "2 of 9" in text(result)


def test_no_runs_is_said(tmp_path: Path) -> None:
    assert "No runs" in text(call("show", "runs", "--storage", str(tmp_path)))


def test_a_mistyped_run_suggests_the_right_one(storage: str) -> None:
    result = call("show", "run", "alpah", "--storage", storage)
    assert result.exit_code == 2
    assert "did you mean alpha?" in text(result)


def test_an_unlike_name_lists_what_there_is(storage: str) -> None:
    assert "there are alpha, beta" in text(call("show", "run", "zzz", "--storage", storage))


def test_a_run_is_found_by_its_path(storage: str) -> None:
    result = call("show", "run", f"{storage}/beta/")
    assert result.exit_code == 0
    assert "2 of 9 generations are finished" in text(result)


def test_a_slash_behind_a_name_is_the_shells(storage: str) -> None:
    result = call("show", "run", "beta/", "--storage", storage)
    assert result.exit_code == 0
    assert "2 of 9 generations are finished" in text(result)


def test_show_run_writes_nothing(storage: str) -> None:
    assert call("show", "run", "alpha", "--storage", storage).exit_code == 0
    assert not RunStore(storage, "alpha").exists("report/summary.json")


def test_individuals_come_with_origin_and_scores(storage: str) -> None:
    result = call("show", "individuals", "alpha", "--storage", storage)
    store = RunStore(storage, "alpha")
    for record in store.individuals():
        assert record.id in text(result)
    score = store.generations()[0].scores["os"]
    assert f"{100 * score.score:.1f} ({100 * score.interval.low:.0f}–{100 * score.interval.high:.0f})" in text(result)


def test_an_individual_is_shown_in_full(storage: str) -> None:
    result = call("show", "individual", "alpha", "g0002", "--storage", storage)
    record = RunStore(storage, "alpha").individual("g0002")
    for part in (record.genome, "generation 2, archive db, svd", f"{record.coefficients[0]:.4f}", "cells won"):
        assert part in text(result)


def test_a_mistyped_individual_suggests_close_ones(storage: str) -> None:
    result = call("show", "individual", "alpha", "expert-so", "--storage", storage)
    assert result.exit_code == 2
    assert "expert-os" in text(result)


def test_an_individual_that_is_half_made_is_not_suggested(tmp_path: Path) -> None:
    store = synthetic_run(str(tmp_path), run_id="begun", generations=1, finished=False)
    store.write_bytes("individuals/aggregate/genome.safetensors", b"")
    result = call("show", "individual", "begun", "aggregate", "--storage", str(tmp_path))
    assert result.exit_code == 2
    assert "no individual 'aggregate'" in text(result)
    assert "did you mean" not in text(result)


def test_a_lineage_ends_in_experts(storage: str) -> None:
    result = call("show", "lineage", "alpha", "aggregate", "--storage", storage)
    assert result.exit_code == 0
    assert re.search(r"expert-os × [\d.]+ expert", text(result))
    assert "Carried in by crossover" in text(result)


def test_transcripts_show_turns_and_verdict(storage: str) -> None:
    result = call(
        "show",
        "episodes",
        "alpha",
        "expert-os",
        "os",
        "--split",
        "test",
        "--failed",
        "--limit",
        "2",
        "--storage",
        storage,
    )
    assert result.exit_code == 0
    assert "wrong answer" in text(result)
    assert "2 of 30 episodes shown" in text(result)
    assert "\x1b[31m" not in result.stdout


def test_a_missing_evaluation_says_what_there_is(storage: str) -> None:
    result = call("show", "episodes", "alpha", "g0000", "coding", "--split", "test", "--storage", storage)
    if result.exit_code == 0:  # the child is an elite
        return
    assert "has no evaluation" in text(result)
    assert "os, optimization" in text(result)


# Looking, from a program


@pytest.mark.parametrize(
    "command",
    [["runs"], ["run", "alpha"], ["individuals", "alpha"], ["individual", "alpha", "g0002"],
     ["lineage", "alpha", "aggregate"], ["episodes", "alpha", "expert-os", "os", "--split", "test"]],
)  # fmt: skip
def test_everything_that_is_shown_can_be_had_as_json(storage: str, command: list[str]) -> None:
    result = call("show", *command, "--json", "--storage", storage)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)


def test_every_show_command_takes_json() -> None:
    for command in show.registered_commands:
        assert "--json" in call("show", command.name or "", "--help").stdout


def test_json_says_what_the_tables_say(storage: str) -> None:
    def said(*command: str) -> Any:
        return json.loads(call("show", *command, "--json", "--storage", storage).stdout)

    store = RunStore(storage, "alpha")
    runs = {entry["run_id"]: entry for entry in said("runs")}
    assert (runs["beta"]["generations"], runs["beta"]["generations_planned"]) == (2, 9)
    entries = {entry["recipe"]["id"]: entry for entry in said("individuals", "alpha")}
    assert entries.keys() == {record.id for record in store.individuals()}
    score = store.generations()[0].scores["os"]
    shown = entries["g0000"]["scores"]["optimization"]["os"]
    assert (shown["score"], shown["n"], shown["low"], shown["high"]) == (score.score, score.n, *score.interval)
    assert said("individual", "alpha", "g0000") == entries["g0000"]
    assert said("run", "alpha")["run_id"] == "alpha"
    lineage = said("lineage", "alpha", "aggregate", "--depth", "1")
    assert [parent["weight"] for parent in lineage["tree"]["parents"]]
    assert sum(lineage["expert_shares"].values()) == pytest.approx(1)
    episodes = said("episodes", "alpha", "expert-os", "os", "--split", "test", "--failed", "--limit", "2")
    assert len(episodes["episodes"]) == 2
    assert episodes["score"]["n"] == 30


def test_no_runs_are_an_empty_list_in_json(tmp_path: Path) -> None:
    assert json.loads(call("show", "runs", "--json", "--storage", str(tmp_path)).stdout) == []


def test_run_that_cannot_be_read_says_why_in_the_table_and_in_json(tmp_path: Path) -> None:
    synthetic_run(str(tmp_path), run_id="good")
    synthetic_run(str(tmp_path), run_id="odd")
    (tmp_path / "odd" / "config.json").write_text("[")
    good, odd = json.loads(call("show", "runs", "--json", "--storage", str(tmp_path)).stdout)
    assert (good["run_id"], good["fault"], odd["run_id"]) == ("good", None, "odd")
    assert odd["fault"] in text(call("show", "runs", "--storage", str(tmp_path)))


@pytest.mark.parametrize("command", [["runs"], ["run", "alpha"], ["individuals", "alpha"]])
def test_pipe_gets_a_line_a_row_with_every_id_and_number_whole(
    storage: str, command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(common.out, "width", 80)
    narrow = call("show", *command, "--storage", storage).stdout
    monkeypatch.setattr(common.out, "width", 500)
    assert narrow == call("show", *command, "--storage", storage).stdout
    assert "…" not in narrow
    if command[0] == "individuals":
        store = RunStore(storage, "alpha")
        line = next(line for line in narrow.splitlines() if line.startswith("g0000 "))
        for score in store.generations()[0].scores.values():
            assert f"{100 * score.score:.1f} (" in line


def test_verify_tells_what_it_looks_at(storage: str) -> None:
    result = call("verify", "alpha", "--json", "--storage", storage)
    assert json.loads(result.stdout)["generations"] == 4
    for stage in ("checksums", "genomes", "evaluations", "generations: 4"):
        assert f"looking at {stage}" in result.stderr


# Taking home


def test_report_draws_and_prints(storage: str) -> None:
    result = call("report", "beta", "--storage", storage)
    assert result.exit_code == 0
    summary = json.loads(RunStore(storage, "beta").read_bytes("report/summary.json"))
    assert summary["generations"] == 2
    assert "report/index.html" in text(result)


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Records what is exported instead of merging weights, which the synthetic run has none of."""
    calls: list[tuple[str, str]] = []

    def export(store: RunStore, identifier: str, out: Path, *, format: str = "checkpoint") -> None:
        calls.append((identifier, format))

    module = ModuleType("cycleqd.steps.export")
    module.export_individual = export  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "cycleqd.steps.export", module)
    monkeypatch.setattr("cycleqd.preflight.probe.probe", lambda *arguments, **options: None)
    return calls


def test_export_takes_the_aggregate_an_elite_or_anyone(
    storage: str, exported: list[tuple[str, str]], tmp_path: Path
) -> None:
    from cycleqd.report import replay

    out = str(tmp_path / "model")
    for options in ([], ["--elite", "os"], ["--individual", "g0001", "--format", "adapter"]):
        result = call("export", "alpha", out, *options, "--storage", storage)
        assert result.exit_code == 0, result.output
    elite = replay(RunStore(storage, "alpha")).elites["os"]
    assert exported == [("aggregate", "checkpoint"), (elite, "checkpoint"), ("g0001", "adapter")]


def test_export_overwrites_nothing(storage: str, exported: list[tuple[str, str]], tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("mine")
    result = call("export", "alpha", str(tmp_path), "--storage", storage)
    assert result.exit_code == 2
    assert "not an empty folder" in text(result)
    assert exported == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--elite", "oss"], "did you mean os?"),
        (["--individual", "g9999"], "no individual 'g9999'"),
        (["--elite", "os", "--individual", "g0001"], "either --elite or --individual"),
    ],
)
def test_export_of_what_is_not_there_is_refused(
    storage: str, exported: list[tuple[str, str]], tmp_path: Path, options: list[str], message: str
) -> None:
    result = call("export", "alpha", str(tmp_path / "out"), *options, "--storage", storage)
    assert result.exit_code == 2
    assert message in text(result)
    assert exported == []


def test_export_of_an_unfinished_run_says_what_is_missing(storage: str, tmp_path: Path) -> None:
    result = call("export", "beta", str(tmp_path / "out"), "--storage", storage)
    assert result.exit_code == 2
    assert "no individual 'aggregate'" in text(result)


# Talking


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random chat model."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    special = {"eos_token": "<eos>", "unk_token": "<unk>", "pad_token": "<eos>"}
    words = {word: number for number, word in enumerate(["<eos>", "<unk>", "hello", "there", "you", "user", "model"])}
    tokenizer = Tokenizer(models.WordLevel(words, special["unk_token"]))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)
    fast.chat_template = "{% for m in messages %}{{ m['role'] }} {{ m['content'] }} {% endfor %}"
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(words), hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, eos_token_id=0, pad_token_id=0,
    )  # fmt: skip
    path = tmp_path_factory.mktemp("model")
    LlamaForCausalLM(config).save_pretrained(path)
    fast.save_pretrained(path)
    return path


def test_chat_answers_one_prompt(model: Path) -> None:
    first, second = (call("chat", str(model), "--prompt", "hello there", "--max-new-tokens", "5") for _ in range(2))
    assert first.exit_code == 0, first.output
    assert first.stdout.strip()
    assert first.stdout == second.stdout


def test_chat_keeps_and_forgets_the_conversation(model: Path) -> None:
    from cycleqd.cli.conversation import load_chat

    partner = load_chat(model, system="hello", max_new_tokens=3)
    "".join(partner.reply("you"))
    assert [message["role"] for message in partner.messages] == ["system", "user", "assistant"]
    partner.reset()
    assert [message["content"] for message in partner.messages] == ["hello"]


def test_chat_on_a_terminal_ends_with_quit(model: Path) -> None:
    result = call("chat", str(model), "--max-new-tokens", "3", stdin="hello\n/reset\n/quit\n")
    assert result.exit_code == 0
    assert "Forgotten." in result.stdout


@pytest.mark.parametrize("damage", ["config.json", "tokenizer_config.json", "model.safetensors"])
def test_chat_with_a_damaged_folder_is_one_line(model: Path, tmp_path: Path, damage: str) -> None:
    copy = shutil.copytree(model, tmp_path / "copy")
    (copy / damage).write_text("[1, 2")
    result = call("chat", str(copy), "--prompt", "hello")
    assert result.exit_code == 2
    assert "Traceback" not in result.output
    assert damage in text(result)


def test_chat_is_greedy_and_ends_where_the_model_ends_whatever_its_sampling_values_say(
    model: Path, tmp_path: Path
) -> None:
    from cycleqd.cli.conversation import load_chat

    values = {"do_sample": True, "temperature": 0.6, "repetition_penalty": 9.0}
    folders = {}
    for name, more in {"sampling": {}, "ending": {"eos_token_id": [0, 3]}}.items():
        folders[name] = shutil.copytree(model, tmp_path / name)
        (folders[name] / "generation_config.json").write_text(json.dumps(values | more))
    plain, sampling = (load_chat(folder, max_new_tokens=5) for folder in (model, folders["sampling"]))
    assert "".join(sampling.reply("hello there")) == "".join(plain.reply("hello there"))
    settings = load_chat(folders["ending"], max_new_tokens=5).model.generation_config
    assert (settings.eos_token_id, settings.do_sample, settings.repetition_penalty) == ([0, 3], None, None)


def test_chat_with_missing_or_senseless_weights_is_refused(model: Path, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    from cycleqd.checkpoint import BaseModelInvalid
    from cycleqd.cli.conversation import load_chat

    copy = shutil.copytree(model, tmp_path / "copy")
    tensors = load_file(copy / "model.safetensors")
    lost = tensors.pop("model.layers.0.mlp.up_proj.weight")
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BaseModelInvalid, match="missing from the files"):
        load_chat(copy)
    tensors["model.layers.0.mlp.up_proj.weight"] = torch.full_like(lost, float("nan"))
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BaseModelInvalid, match="NaN"):
        load_chat(copy)


def test_chat_with_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    result = call("chat", str(tmp_path))
    assert result.exit_code == 2
    assert "cycleqd export" in text(result)
