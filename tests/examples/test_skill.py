"""The skill of `examples/skill`: installed as a user would, and used without a line of `cycleqd/` knowing it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "skill"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a process that has the package."""
    folder = tmp_path_factory.mktemp("example")
    # A copy: building leaves files beside the sources.
    source = shutil.copytree(EXAMPLE, folder / "source", ignore=shutil.ignore_patterns("__pycache__"))
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "-q", "--no-deps")
    place = folder / "packages"
    subprocess.run([*pip, "--no-build-isolation", "--target", place, source], check=True)
    own = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return own | {"PYTHONPATH": f"{place}{os.pathsep}{ROOT}"}


def python(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


CHECK = """
from cycleqd.config import RunConfig, load_config
from cycleqd.evaluation.judges import judge_files
from cycleqd.skills.registry import BUILT_IN, find, names
from cycleqd.evaluation.resources import build_skills

assert names() == (*BUILT_IN, "arithmetic"), names()
row = find("arithmetic")
assert row.source == "the package cycleqd-arithmetic 0.1.0", row
config = load_config("examples/skill/search.yaml")
assert config.skill_names == ("arithmetic", "coding")
assert config.generations == 2
built = build_skills(config)
counts = config.counts("arithmetic")
assert {split: len(built["arithmetic"].samples(split)) for split in counts} == counts
schema = RunConfig.model_json_schema()
assert "arithmetic" in schema["$defs"]["SkillConfig"]["properties"]["name"]["enum"]
assert "arithmetic" in schema["properties"]["experts"]["properties"]["data"]["propertyNames"]["enum"]
assert "cycleqd_arithmetic.skill" in judge_files(type(built["arithmetic"]).__module__)
"""


def test_the_package_is_found_and_a_configuration_takes_its_skill(installed: dict[str, str]) -> None:
    done = python(installed, "-c", CHECK)
    assert done.returncode == 0, done.stderr


@pytest.mark.docker
@pytest.mark.slow
def test_its_skill_passes_the_contract_suite(installed: dict[str, str]) -> None:
    arguments = ("-q", "-k", "arithmetic", "-p", "no:cacheprovider", "--durations=0")
    done = python(installed, "-m", "pytest", *arguments, "tests/contracts/test_suites.py")
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout


AUDITS = """
import sys
from cycleqd.cli import app

for name in sys.argv[1:]:
    if code := app(["audit", name, "--strict"], standalone_mode=False):
        sys.exit(code)
"""


@pytest.mark.docker
@pytest.mark.slow
def test_its_skill_is_audited_by_name_and_by_class(installed: dict[str, str]) -> None:
    done = python(installed, "-c", AUDITS, "arithmetic", "cycleqd_arithmetic.skill:ArithmeticSkill")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("Audit of arithmetic") == 2
