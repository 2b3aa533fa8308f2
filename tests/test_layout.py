"""Data flows one way: cycleqd <- tasks <- flows. The command line alone may reach up, to start runs."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = {"cycleqd": {"tasks", "flows", "prefect"}, "tasks": {"flows"}, "flows": set()}
EXCEPTION = ROOT / "cycleqd" / "cli" / "start.py"


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
        if path != EXCEPTION and (above := LAYERS[layer] & set(imported(path)))
    }
    assert offenders == {}


def test_no_flow_or_task_module_shadows_a_library():
    # Prefect puts the folder of a script entrypoint first on sys.path.
    names = {path.stem for layer in ("flows", "tasks") for path in (ROOT / layer).glob("*.py")} - {"__init__"}
    assert names & (set(sys.stdlib_module_names) | {"datasets", "docker", "evaluate", "torch", "vllm"}) == set()


HEAVY = {"torch", "numpy", "docker", "matplotlib", "transformers", "prefect", "datasets", "vllm"}


@pytest.mark.parametrize(
    "command", [["run", "--help"], ["run", "demo", "--set", "generations=true"], ["verify", "no-such-run"]]
)
def test_help_and_refusals_of_the_command_line_need_no_heavy_library(command, tmp_path):
    # They take many seconds of processor time to import; who asks for help or misspells a setting must not wait.
    code = (
        "import sys\nfrom cycleqd.cli import app\n"
        f"try:\n    app({command!r})\nexcept SystemExit:\n    print(sorted(sys.modules.keys() & {HEAVY!r}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.stdout.splitlines()[-1] == "[]", done.stdout + done.stderr
