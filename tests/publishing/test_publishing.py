"""Uploading and converting: what is asked of the hub's client and of llama.cpp's converter, and how refusals read."""

import pytest
from huggingface_hub import HfApi

from cycleqd.publishing import NotPublished, push, write_gguf
from cycleqd.publishing.gguf import SCRIPT, VARIABLE, find_converter


def test_a_folder_is_uploaded_to_a_repository_that_is_made_where_it_is_missing(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(HfApi, "create_repo", lambda self, name, **options: asked.append((name, options)) or "address")
    monkeypatch.setattr(HfApi, "upload_folder", lambda self, **options: asked.append(options))
    assert push(tmp_path, "me/model") == "address"
    assert asked[0] == ("me/model", {"repo_type": "model", "private": True, "exist_ok": True})
    assert (asked[1]["repo_id"], asked[1]["folder_path"]) == ("me/model", tmp_path)


def test_a_hub_that_cannot_be_reached_is_one_line_that_names_the_token(tmp_path, monkeypatch):
    def fail(self, *args, **options):
        raise OSError("no\nroute")

    monkeypatch.setattr(HfApi, "create_repo", fail)
    with pytest.raises(NotPublished, match="HF_TOKEN") as refusal:
        push(tmp_path, "me/model")
    assert "\n" not in str(refusal.value)


def converter(folder, body):
    (folder / SCRIPT).write_text(f"import sys\nout = sys.argv[sys.argv.index('--outfile') + 1]\n{body}\n")


def test_gguf_is_left_to_llama_cpps_converter(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    converter(tmp_path, "open(out, 'w').write(sys.argv[1])")
    model = tmp_path / "model"
    model.mkdir()
    assert write_gguf(model).read_text() == str(model)
    converter(tmp_path, "sys.exit('this model is not known')")
    with pytest.raises(NotPublished, match="this model is not known"):
        write_gguf(model)


def test_without_a_converter_the_refusal_says_where_to_put_it(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(NotPublished, match=VARIABLE):
        find_converter()
