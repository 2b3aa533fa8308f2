import gzip
import json

import pytest

from cycleqd.experts.data import DataSource, TrainingDataUnavailable, check_source
from cycleqd.experts.data.sources import rows
from tests.experts.data.files import agent_flan_row, evol_row, write_lines, write_parquet


@pytest.fixture(autouse=True)
def cache_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


def evol(path):
    return DataSource("magicoder_evol", str(path))


def test_lines_and_parquet_give_the_same_rows(tmp_path):
    wanted = [evol_row(number) for number in range(5)]
    assert list(rows(evol(write_lines(tmp_path / "a.jsonl", wanted)))) == wanted
    assert list(rows(evol(write_parquet(tmp_path / "a.parquet", wanted)))) == wanted
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress((tmp_path / "a.jsonl").read_bytes()))
    assert list(rows(evol(tmp_path / "a.jsonl.gz"))) == wanted


def test_folder_is_read_file_by_file_in_the_order_of_names(tmp_path):
    write_lines(tmp_path / "2.jsonl", [evol_row(2)])
    write_parquet(tmp_path / "1.parquet", [evol_row(1)])
    (tmp_path / "README.md").write_text("not data")
    assert list(rows(evol(tmp_path))) == [evol_row(1), evol_row(2)]


def test_rows_that_fit_no_common_schema_are_read_as_they_are(tmp_path):
    mixed = [
        agent_flan_row("os_1"),
        {"id": 7, "conversation": [{"role": "user", "content": "?", "type": "text"}], "extra": {"a": [1, "b"]}},
        {"conversation": "text"},
    ]
    assert list(rows(DataSource("agent_flan", write_lines(tmp_path / "a.jsonl", mixed)))) == mixed


def test_line_separators_inside_a_text_do_not_end_a_line(tmp_path):
    row = {"instruction": "a\u2028b\u0085c\x0b", "response": "d\r\ne"}
    (tmp_path / "a.jsonl").write_text(json.dumps(row, ensure_ascii=False) + "\n", encoding="utf-8")
    assert list(rows(evol(tmp_path / "a.jsonl"))) == [row]


def test_line_that_is_no_json_is_named(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"instruction": "a"}\nnot json\n')
    with pytest.raises(TrainingDataUnavailable, match=r"a\.jsonl, line 2: not JSON"):
        list(rows(evol(tmp_path / "a.jsonl")))


def test_file_that_is_no_parquet_is_named(tmp_path):
    (tmp_path / "a.parquet").write_text("not parquet")
    with pytest.raises(TrainingDataUnavailable, match=r"a\.parquet"):
        list(rows(evol(tmp_path / "a.parquet")))


def test_check_finds_files_without_reading_them(tmp_path):
    assert check_source(evol(write_lines(tmp_path / "a.jsonl", [evol_row(1)]))).startswith("1 file(s)")


@pytest.mark.parametrize("path", ["missing.jsonl", "./missing", "/no/where", "~/missing", "a/b/c", "name"])
def test_missing_files_are_never_looked_for_on_the_hub(path):
    with pytest.raises(TrainingDataUnavailable, match="no such file or folder"):
        check_source(evol(path))


def test_empty_files_and_folders_are_refused(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "a.jsonl").touch()
    with pytest.raises(TrainingDataUnavailable, match="holds no file"):
        check_source(evol(tmp_path / "folder"))
    with pytest.raises(TrainingDataUnavailable, match="is empty"):
        check_source(evol(tmp_path / "a.jsonl"))


def test_unreachable_hub_is_an_error_that_says_what_to_do(monkeypatch):
    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", lambda *args, **settings: next(iter_error()))
    with pytest.raises(TrainingDataUnavailable, match=r"internlm/Agent-FLAN.*set the source's path"):
        check_source(DataSource("agent_flan"))
    monkeypatch.setattr("cycleqd.experts.data.sources._hub", lambda source: iter_error())
    with pytest.raises(TrainingDataUnavailable, match=r"internlm/Agent-FLAN.*set the source's path"):
        list(rows(DataSource("agent_flan")))


def test_offline_hub_data_is_trusted_to_be_in_the_cache(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert "not checked" in check_source(DataSource("agent_flan"))


def iter_error():
    raise ConnectionError("no route")
    yield


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.json"])
def test_byte_order_mark_and_windows_line_ends_are_read(name, tmp_path):
    wanted = [evol_row(number) for number in range(3)]
    content = ("\ufeff" + "".join(json.dumps(row) + "\r\n" for row in wanted)).encode()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    assert list(rows(evol(tmp_path / name))) == wanted


@pytest.mark.parametrize("start", ["", "\ufeff", " \n"])
def test_list_of_rows_in_one_json_file_is_read(start, tmp_path):
    wanted = [evol_row(number) for number in range(3)]
    (tmp_path / "a.json").write_text(start + json.dumps([*wanted, "no row"], indent=1), encoding="utf-8")
    assert list(rows(evol(tmp_path / "a.json"))) == [*wanted, {}]
    assert list(rows(evol(tmp_path))) == [*wanted, {}]


def test_list_of_rows_that_is_cut_is_told(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps([evol_row(1)])[:-5])
    with pytest.raises(TrainingDataUnavailable, match=r"a\.json: not JSON"):
        list(rows(evol(tmp_path / "a.json")))


@pytest.mark.parametrize("line", ["[" * 100_000 + "]" * 100_000, '{"instruction": ' + "9" * 5000 + "}"])
def test_line_beyond_all_reading_is_a_row_without_fields(line, tmp_path):
    (tmp_path / "a.jsonl").write_text(f"{json.dumps(evol_row(1))}\n{line}\n{json.dumps(evol_row(2))}\n")
    assert list(rows(evol(tmp_path / "a.jsonl"))) == [evol_row(1), {}, evol_row(2)]
