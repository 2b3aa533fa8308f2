import base64
import re
import time
from xml.etree import ElementTree

import pytest

from cycleqd.report import replay
from cycleqd.report.glance import archives_markdown, curve_markdown, heat_map
from cycleqd.search.archive import Archives, grids_from_experts


def archives(*skills):
    experts = {f"expert-{skill}": {other: 0.6 if other == skill else 0.2 for other in skills} for skill in skills}
    built = Archives.seeded(skills, grids_from_experts(list(experts.values()), bins=15), experts)
    built.insert("g0007", dict.fromkeys(skills, 0.5), 7)
    return built


def pictures(markdown):
    for found in re.findall(r"\(data:image/svg\+xml;base64,([^)]*)\)", markdown):
        yield ElementTree.fromstring(base64.b64decode(found))  # noqa: S314 - our own drawings


@pytest.mark.parametrize("skills", [("os",), ("os", "db"), ("coding", "os", "db"), ("a", "b", "c", "d")])
def test_any_number_of_skills_is_drawn_as_valid_svg(skills):
    markdown = archives_markdown(archives(*skills), "g0007")
    assert len(list(pictures(markdown))) == len(skills)
    assert all(f"| {skill} |" in markdown for skill in skills)


def test_the_newest_individuals_cell_is_framed():
    archive = archives("coding", "os", "db")["os"]
    assert heat_map(archive, "g0007").count("stroke=") == 1
    assert "stroke=" not in heat_map(archive, "g0099")


def test_an_artifact_of_all_archives_is_small_and_cheap():
    built = archives("coding", "os", "db")
    began = time.perf_counter()
    markdown = archives_markdown(built, "g0007")
    assert time.perf_counter() - began < 1
    assert len(markdown) < 100_000


def test_the_curve_has_a_line_per_skill_and_one_for_the_mean(finished):
    (picture,) = pictures(curve_markdown(replay(finished)))
    lines = picture.findall("{http://www.w3.org/2000/svg}polyline")
    assert len(lines) == len(finished.config().skills) + 1
