"""The table of skills, with packages that are installed for one test: a folder with what pip writes down of them."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cycleqd.config import ConfigError, RunConfig, parse_config
from cycleqd.seams import RECIPES
from cycleqd.skills.building import build_skill
from cycleqd.skills.registry import BUILT_IN, SkillRow, SkillUnavailable, find, load, names

CLASS = """
class Skill:
    name = "sums"
    images = ("python",)
    cheats = {"says one": lambda sample: "1"}
    usual_data = ({"recipe": "agent_flan", "subset": "os"},)

    def __init__(self, *, seed, counts):
        self.made = seed, dict(counts)

    def samples(self, split): ...
    def initial_messages(self, sample): ...
    def gold_replies(self, sample): ...
    def session(self, sandboxes): ...
"""

Install = Callable[..., Path]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Installs a package whose module ``<package>_skills`` has this source, and which gives it under a name."""

    def installed(package: str, name: str, source: str = CLASS) -> Path:
        folder = tmp_path / package
        facts = folder / f"{package}-1.2.dist-info"
        facts.mkdir(parents=True)
        (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.2\n")
        (facts / "entry_points.txt").write_text(f"[cycleqd.skills]\n{name} = {package}_skills:Skill\n")
        (folder / f"{package}_skills.py").write_text(source)
        monkeypatch.syspath_prepend(str(folder))
        monkeypatch.delitem(sys.modules, f"{package}_skills", raising=False)
        return folder

    return installed


@pytest.mark.parametrize("row", BUILT_IN.values(), ids=lambda row: row.name)
def test_every_built_in_row_names_things_that_are_there(row: SkillRow) -> None:
    assert load(row.target).name == row.name
    assert load(row.target).images == row.images
    assert load(row.cheats)
    assert all(source["recipe"] in RECIPES for source in row.usual_data)
    # Of a file of one's own nobody knows what its expert learns from.
    assert (row.kind == "benchmark" and row.name != "jsonl") == bool(row.usual_data)


def test_a_configuration_needs_neither_sandboxes_nor_torch() -> None:
    code = (
        "import sys, cycleqd.config as c; c.parse_config({}); print(*{'docker', 'torch', 'datasets'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_a_package_gives_a_skill_that_says_of_itself_what_a_row_says(install: Install) -> None:
    install("adders", "sums")
    assert names() == (*BUILT_IN, "sums")
    assert find("sums") == SkillRow(
        "sums",
        "adders_skills:Skill",
        "the package adders 1.2",
        "suite",
        ("python",),
        "adders_skills:Skill.cheats",
        ({"recipe": "agent_flan", "subset": "os"},),
    )
    assert load(find("sums").cheats)["says one"](None) == "1"
    built = build_skill("sums", seed=3, counts={"train": 2, "test": None})
    assert built.made == (3, {"train": 2})  # type: ignore[attr-defined]


def test_a_skill_of_a_package_is_loaded_when_it_is_asked_for_and_not_before(install: Install) -> None:
    install("adders", "sums")
    assert find("coding") == BUILT_IN["coding"]
    assert "sums" in str(RunConfig.model_json_schema()["$defs"]["SkillConfig"]["properties"]["name"]["enum"])
    assert "adders_skills" not in sys.modules
    find("sums")
    assert "adders_skills" in sys.modules


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("import nothing_of_that_name", "can't be loaded: ModuleNotFoundError"),
        ("raise SystemError('of old')", "can't be loaded: SystemError: of old"),
        ("X = 1", "can't be loaded: AttributeError"),
        ("Skill = 3", "no class of skills: it is a int"),
        ("class Skill:\n    name = 'sums'", "it has no samples, initial_messages, gold_replies, session"),
        (CLASS.replace('"sums"', '"Sums/.."'), "needs a name of lower-case letters"),
        (CLASS.replace('"sums"', '"differences"'), "it is called 'differences'"),
        (
            CLASS.replace('images = ("python",)', 'kind, images = "game", ()'),
            "kind 'suite' or 'benchmark', got 'game'",
        ),
        (CLASS.replace('("python",)', '"python"'), "name its images in a tuple"),
    ],
)
def test_a_skill_that_is_none_is_one_fault_that_names_the_package(install: Install, source: str, fault: str) -> None:
    install("adders", "sums", source)
    with pytest.raises(ConfigError) as caught:
        parse_config({"skills": [{"name": "sums"}, {"name": "os"}]})
    (line,) = [line for line in str(caught.value).splitlines() if "skills.0.name" in line]
    assert "the package adders 1.2" in line
    assert fault in line
    assert parse_config({"skills": [{"name": "os"}]}).skill_names == ("os",)


def test_a_name_that_two_packages_give_is_refused_with_both(install: Install) -> None:
    install("adders", "sums")
    install("others", "sums")
    with pytest.raises(SkillUnavailable, match=r"(?s)(adders 1\.2.*others 1\.2)|(others 1\.2.*adders 1\.2)"):
        find("sums")


def test_a_package_cannot_take_the_place_of_a_built_in_skill(install: Install) -> None:
    install("adders", "coding", CLASS.replace("sums", "coding"))
    with pytest.raises(ConfigError, match=r"'coding' is given by cycleqd itself and by the package adders 1\.2"):
        parse_config({"skills": [{"name": "coding"}]})
    with pytest.raises(ValueError, match="given by cycleqd itself"):
        build_skill("coding", counts={})
    assert parse_config({"skills": [{"name": "os"}]}).skill_names == ("os",)


def test_a_configuration_may_name_a_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_skills.py").write_text(CLASS + "\n\nclass Twin(Skill):\n    name = 'coding'\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "own_skills", raising=False)
    data = {"sources": [{"recipe": "chat", "path": "mine.jsonl"}], "max_length": 99}
    config = parse_config({
        "skills": [{"name": "os"}, {"name": "own_skills:Skill", "test": 7}],
        "experts": {"data": {"own_skills:Skill": data}, "epochs_by_skill": {"own_skills:Skill": 3}},
    })  # fmt: skip
    # Records and keys have the class's own name; the configuration keeps what was written.
    assert config.skill_names == ("os", "sums")
    assert config.counts("sums") == {"train": 160, "optimization": 24, "test": 7}
    assert (config.experts.epochs_of("sums"), config.experts.epochs_of("os")) == (3, 1)
    assert (config.experts.max_length_of("sums"), config.experts.data_of("os")) == (99, None)
    assert parse_config(config.model_dump(mode="json")) == config
    assert build_skill("own_skills:Skill", counts={}).name == "sums"
    for name, fault in (
        ("own_skills:Nothing", "can't be loaded: AttributeError"),
        ("own_skills:Twin", "is called 'coding', and so is a skill of cycleqd itself"),
        ("own_skills:", "expected module:Class"),
    ):
        with pytest.raises(ConfigError, match=fault):
            parse_config({"skills": [{"name": name}]})
    with pytest.raises(ConfigError, match="skills must differ"):
        parse_config({"skills": [{"name": "own_skills:Skill"}, {"name": "own_skills:Skill"}]})


def test_a_built_in_class_is_the_built_in_skill() -> None:
    assert find(BUILT_IN["db"].target) == BUILT_IN["db"]
    with pytest.raises(ConfigError, match=r"os is listed twice"):
        parse_config({"experts": {"epochs_by_skill": {"os": 1, BUILT_IN["os"].target: 2}}})


def test_an_unknown_name_is_refused_with_the_known_ones(install: Install) -> None:
    install("adders", "sums")
    with pytest.raises(ConfigError) as caught:
        parse_config({"skills": [{"name": "cooking"}], "experts": {"data": {"baking": {"sources": []}}}})
    for path in ("skills.0.name", "experts.data.baking"):
        assert any(
            path in line and "there are coding, os, db" in line and "sums" in line
            for line in str(caught.value).splitlines()
        )
