"""Data flows one way: cycleqd <- tasks <- flows. The command line alone may reach up, to start runs.

Within `cycleqd/` nothing imports in a circle, neither modules nor rooms; `infra/rooms.py` draws them.
"""

import ast
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from infra.rooms import circles, module_name, read, room_of, too_long
from infra.rooms_picture import BOX_WIDTH, arranged, layers_of, reduced
from tests.report.synthetic import synthetic_run

ROOT = Path(__file__).parents[1]
LAYERS = {"cycleqd": {"tasks", "flows", "prefect"}, "tasks": {"flows"}, "flows": set()}
EXCEPTIONS = {ROOT / "cycleqd" / "cli" / name for name in ("start.py", "experiment.py", "playing.py")}


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


@pytest.mark.parametrize("layer", LAYERS)
def test_no_layer_imports_what_stands_above_it(layer):
    files = sorted((ROOT / layer).rglob("*.py"))
    assert files
    offenders = {
        str(path.relative_to(ROOT)): sorted(above)
        for path in files
        if path not in EXCEPTIONS and (above := LAYERS[layer] & set(imported(path)))
    }
    assert offenders == {}


def test_no_flow_or_task_module_shadows_a_library():
    # Prefect puts the folder of a script entrypoint first on sys.path.
    names = {path.stem for layer in ("flows", "tasks") for path in (ROOT / layer).glob("*.py")} - {"__init__"}
    assert names & (set(sys.stdlib_module_names) | {"datasets", "docker", "evaluate", "torch", "vllm"}) == set()


@pytest.fixture(scope="module")
def layout():
    return read()


@pytest.mark.parametrize("what", ["modules", "rooms"])
def test_nothing_imports_in_a_circle(layout, what):
    assert circles(getattr(layout, what)) == []


def test_no_module_is_too_long_to_read(layout):
    assert too_long(layout.lines) == {}


def test_a_circle_is_found_however_it_is_imported(tmp_path):
    sources = {
        "a/one.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from cycleqd.b import two\n",
        "b/two.py": "def late():\n    import cycleqd.c\n",
        "c/__init__.py": "from cycleqd.a.one import thing\n",
        "d.py": "from cycleqd import c\n",
    }
    for name, text in sources.items():
        path = tmp_path / "cycleqd" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    found = read(tmp_path)
    assert circles(found.modules) == [["cycleqd.a.one", "cycleqd.b.two", "cycleqd.c"]]
    assert circles(found.rooms) == [["a", "b", "c"]]
    assert found.rooms["d"] == {"c"}


def test_a_room_is_what_lies_directly_in_the_package():
    assert room_of(module_name(Path("cycleqd/search/operators/mutation.py"))) == "search"
    assert room_of(module_name(Path("cycleqd/messages.py"))) == "messages"
    assert room_of(module_name(Path("flows/__init__.py"))) == "flows"


def test_boxes_of_the_picture_do_not_overlap_and_arrows_go_down(layout):
    graph = reduced(layout.rooms)
    place, arrows = arranged(graph)
    boxes = [node for node in place if not node.to]
    assert {node.name for node in boxes} == set(graph)
    for one in boxes:
        for other in boxes:
            if one.name != other.name and one.layer == other.layer:
                assert abs(place[one] - place[other]) > BOX_WIDTH
    assert all(above.layer > below.layer for arrow in arrows for above, below in pairwise(arrow))
    assert min(layers_of(graph).values()) == 0


HEAVY = {"torch", "fsspec", "numpy", "docker", "matplotlib", "transformers", "prefect", "datasets", "vllm"}


def heavy_after(code, folder):
    """The heavy libraries that a new process has imported after the code."""
    code = f"import sys\nfrom cycleqd.cli import app\n{code}\nprint(sorted(sys.modules.keys() & {HEAVY!r}))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.stdout, done.stderr
    return done.stdout.splitlines()[-1], done.stdout + done.stderr


@pytest.mark.parametrize(
    "command",
    [
        ["run", "demo", "--set", "generations=true"],
        ["plan", "no-such-profile"],
        ["generalise", "demo", "--benchmarks", "no-such-benchmark"],
    ],
)
def test_refusals_of_the_command_line_need_no_heavy_library(command, tmp_path):
    # They take many seconds of processor time to import; who misspells a setting must not wait.
    loaded, said = heavy_after(f"try:\n    app({command!r})\nexcept SystemExit:\n    pass", tmp_path)
    assert loaded == "[]", said


def test_a_list_of_runs_needs_neither_torch_nor_figures(tmp_path):
    synthetic_run(str(tmp_path))
    code = f"try:\n    app(['show', 'runs', '--storage', {str(tmp_path)!r}])\nexcept SystemExit:\n    pass"
    loaded, said = heavy_after(code, tmp_path)
    assert "synthetic" in said
    assert not {"torch", "transformers", "prefect", "matplotlib"} & set(ast.literal_eval(loaded)), loaded


def test_help_of_every_command_needs_no_heavy_library(tmp_path):
    code = """
import typer
def paths(command, path=()):
    yield path
    for name, inner in getattr(command, "commands", {}).items():
        yield from paths(inner, (*path, name))
known = list(paths(typer.main.get_command(app)))
assert ("show", "runs") in known and ("verify",) in known, known
for path in known:
    try:
        app([*path, "--help"])
    except SystemExit as end:
        assert not end.code, path
"""
    loaded, said = heavy_after(code, tmp_path)
    assert loaded == "[]", said
