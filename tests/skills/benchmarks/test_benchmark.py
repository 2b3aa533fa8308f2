import json
import os
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from cycleqd.skills.benchmarks.benchmark import (
    DATA_VARIABLE,
    DataUnavailable,
    Problem,
    Source,
    Whole,
    files_sha256,
    half_of,
    halves,
    locate,
    prompt_text,
    read_exclusions,
    without_excluded,
)
from cycleqd.skills.building import build_skill
from cycleqd.skills.protocol import Sample

PROBLEMS = [Problem(f"p/{i}", f"kind-{i % 3}", f"problem number {i}", {"n": i}) for i in range(300)]


def _ids(samples: tuple[Sample, ...]) -> set[str]:
    return {sample.id for sample in samples}


def test_halves_are_disjoint_complete_and_about_equal_in_every_stratum() -> None:
    split = halves("x", PROBLEMS, counts={}, seed=0)
    assert _ids(split["optimization"]) & _ids(split["test"]) == set()
    assert _ids(split["optimization"]) | _ids(split["test"]) == {problem.id for problem in PROBLEMS}
    assert split["train"] == ()
    for kind in range(3):
        share = sum(sample.template == f"kind-{kind}" for sample in split["optimization"])
        assert share == pytest.approx(50, abs=20)  # four standard deviations of a fair coin's 100 throws


def test_a_sample_stays_in_its_half_when_others_are_added_removed_or_reordered() -> None:
    all_of_them = halves("x", PROBLEMS, counts={}, seed=0)
    fewer = halves("x", PROBLEMS[::-7], counts={}, seed=0)
    assert _ids(fewer["test"]) < _ids(all_of_them["test"])
    assert _ids(fewer["optimization"]) < _ids(all_of_them["optimization"])


def test_the_same_content_is_in_the_same_half_whatever_its_id() -> None:
    twins = [Problem(f"twin/{i}", p.stratum, p.content, {}) for i, p in enumerate(PROBLEMS)]
    split = halves("x", [*PROBLEMS, *twins], counts={}, seed=4)
    for half in ("optimization", "test"):
        names = {name.partition("/")[2] for name in _ids(split[half]) if name.startswith("p/")}
        assert names == {name.partition("/")[2] for name in _ids(split[half]) if name.startswith("twin/")}


def test_a_whole_benchmark_has_the_samples_of_both_halves_in_either() -> None:
    skill = build_skill("os", counts={"optimization": 2, "test": 3})
    whole = Whole(skill)
    both = [*skill.samples("optimization"), *skill.samples("test")]
    assert list(whole.samples("test")) == list(whole.samples("optimization")) == both
    assert (whole.name, whole.max_turns, whole.origin) == (skill.name, skill.max_turns, skill.origin)
    assert whole.gold_replies(both[0]) == skill.gold_replies(both[0])


def test_the_seed_draws_the_halves() -> None:
    one, other = (halves("x", PROBLEMS, counts={}, seed=seed) for seed in (0, 1))
    assert _ids(one["test"]) != _ids(other["test"])
    # Pinned: published results depend on it.
    assert [half_of(0, "a", text) for text in "abcdef"] == [half_of(0, "a", text) for text in "abcdef"]


def test_a_smaller_count_is_the_beginning_of_a_larger_one() -> None:
    whole = halves("x", PROBLEMS, counts={}, seed=0)["test"]
    assert halves("x", PROBLEMS, counts={"test": 10}, seed=0)["test"] == whole[:10]


def test_more_samples_than_a_half_has_are_refused_with_the_number_there_is() -> None:
    with pytest.raises(ValueError, match=r"x: 300 test samples were asked for, this data has 1\d\d"):
        halves("x", PROBLEMS, counts={"test": 300}, seed=0)


def test_a_benchmark_has_no_samples_to_train_on() -> None:
    with pytest.raises(ValueError, match="no train split"):
        halves("x", PROBLEMS, counts={"train": 5}, seed=0)


def test_excluded_samples_are_named_as_skipped() -> None:
    kept, skipped = without_excluded(PROBLEMS, frozenset({"p/3"}))
    assert len(kept) == 299
    assert skipped == [("p/3", "excluded by the configuration")]


def test_exclusion_of_a_sample_that_is_not_there_is_refused() -> None:
    with pytest.raises(DataUnavailable, match="p/999"):
        without_excluded(PROBLEMS, frozenset({"p/999"}))


def test_two_samples_of_one_id_are_refused() -> None:
    with pytest.raises(DataUnavailable, match="more than one sample of id p/0"):
        without_excluded([*PROBLEMS, PROBLEMS[0]], frozenset())


def test_exclusions_are_read_from_a_list_and_from_an_audit(tmp_path: Path) -> None:
    listing, audit = tmp_path / "ids.txt", tmp_path / "audit.json"
    listing.write_text("# wrong tests\nMbpp/1\n\nMbpp/2  # no solution\n")
    audit.write_text(json.dumps({"skill": "x", "broken": [{"id": "Mbpp/1", "reason": "?"}]}))
    assert read_exclusions(listing) == ("Mbpp/1", "Mbpp/2")
    assert read_exclusions(audit) == ("Mbpp/1",)
    audit.write_text(json.dumps({"broken": [{"id": "a"}], "cheated": [{"id": "b"}, {"id": "a"}, {"id": "b"}]}))
    assert read_exclusions(audit) == ("a", "b")
    audit.write_text("{}")
    with pytest.raises(DataUnavailable, match="exclude_file"):
        read_exclusions(audit)


def test_exclusions_take_the_samples_that_a_cheat_solves(tmp_path: Path) -> None:
    audit = tmp_path / "audit.json"
    found = {"broken": [{"id": "p/1", "reason": "?"}], "cheated": [{"id": "p/2", "reason": "?"}, {"id": "p/1"}]}
    audit.write_text(json.dumps(found))
    assert read_exclusions(audit) == ("p/1", "p/2")


HIDDEN = "hunter2"


@pytest.mark.parametrize(
    "content",
    [
        f"root:$6${HIDDEN}:19000:0:99999:7:::\n".encode(),
        f"-----BEGIN PRIVATE KEY-----\n{HIDDEN}/{HIDDEN}\n".encode(),
        f"{HIDDEN}\n".encode(),
        f"p/{HIDDEN} {HIDDEN}\n".encode(),
        f"p/{HIDDEN * 20}\n".encode(),
        f'{{"broken": [{{"id": "{HIDDEN}"}}]}}'.encode(),
        f'{{"broken": [{{"id": ["{HIDDEN}"]}}]}}'.encode(),
        f'{{"broken": {{"{HIDDEN}": 1}}}}'.encode(),
        f'{{"broken": ["{HIDDEN}"]}}'.encode(),
        f'{{"{HIDDEN}": 1}}'.encode(),
        f"{{{HIDDEN}".encode(),
        b'{"broken": ' + b"[" * 100_000,
        f"{HIDDEN}\xff".encode("latin-1"),
        f"{HIDDEN}\n".encode("utf-16"),
        HIDDEN.encode() * 600_000,
        HIDDEN.encode() * 1000,
    ],
)
def test_file_that_is_no_list_of_ids_is_refused_and_not_repeated(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "shadow"
    file.write_bytes(content)
    with pytest.raises(DataUnavailable) as caught:
        without_excluded(PROBLEMS, frozenset(read_exclusions(file)))
    told = "".join(traceback.format_exception(caught.value))
    assert HIDDEN not in str(caught.value)
    assert HIDDEN not in told.replace("HIDDEN", "")
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("read", [read_exclusions, lambda path: prompt_text(str(path), path)])
def test_device_folder_and_pipe_are_not_read(read: Callable[[Path], object], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (Path("/dev/zero"), Path("/dev/stdin"), tmp_path, tmp_path / "pipe", tmp_path / "nowhere"):
        with pytest.raises(DataUnavailable, match="_file"):
            read(path)


def test_data_is_found_by_setting_then_environment_then_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, shared, fetched = tmp_path / "mine.jsonl", tmp_path / "shared" / "a" / "b.jsonl", tmp_path / "fetched"
    shared.parent.mkdir(parents=True)
    mine.touch()
    shared.touch()
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path / "shared"))
    assert locate(str(mine), ["a/*.jsonl"], skill="x") == [mine]
    assert locate(None, ["none/*", "a/*.jsonl"], skill="x") == [shared]
    monkeypatch.delenv(DATA_VARIABLE)
    assert locate(None, ["a/*.jsonl"], skill="x", download=lambda: fetched) == [fetched]


def test_missing_data_names_the_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline() -> Path:
        raise OSError("no route to host")

    monkeypatch.delenv(DATA_VARIABLE, raising=False)
    with pytest.raises(DataUnavailable, match=r"x: CYCLEQD_DATA_DIR is not set.*no route to host.*`data`.*--data"):
        locate(None, ["a"], skill="x", download=offline)
    with pytest.raises(DataUnavailable, match="neither a file nor a folder with a"):
        locate(str(tmp_path), ["a"], skill="x", download=offline)


def test_the_hash_of_one_file_is_that_of_its_bytes(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(b"abc")
    two.write_bytes(b"abc")
    # SHA-256 of "abc": FIPS 180-2, appendix B.1.
    assert files_sha256([one]) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert len({files_sha256([one]), files_sha256([one, two]), files_sha256([two, one])}) == 3


def test_a_prompt_of_the_users_own_is_named_by_its_hash(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    ours.write_text("Write it.")
    theirs.write_text("abc")
    assert prompt_text(None, ours) == ("Write it.", "ours")
    assert prompt_text(str(theirs), ours) == (
        "abc",
        "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    )
    with pytest.raises(DataUnavailable, match="prompt_file"):
        prompt_text(str(tmp_path / "nowhere"), ours)


def test_only_our_instructions_say_how_many_turns_the_setting_allows(tmp_path: Path) -> None:
    text = tmp_path / "prompt.md"
    text.write_text("At most {turns}.")
    assert prompt_text(None, text, turns=8)[0] == "At most eight."
    assert prompt_text(None, text, turns=15)[0] == "At most 15."
    assert prompt_text(str(text), text, turns=8)[0] == "At most {turns}."


def test_a_generated_suite_takes_no_data() -> None:
    with pytest.raises(ValueError, match="is generated"):
        build_skill("os", counts={}, source=Source(data="x"))
