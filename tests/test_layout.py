"""Data flows one way: cycleqd <- tasks <- flows. The command line alone may reach up, to start runs."""

import ast
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
    import sys

    names = {path.stem for layer in ("flows", "tasks") for path in (ROOT / layer).glob("*.py")} - {"__init__"}
    assert names & (set(sys.stdlib_module_names) | {"datasets", "docker", "evaluate", "torch", "vllm"}) == set()
