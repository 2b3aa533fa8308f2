import base64
import re
import time
from xml.etree import ElementTree

import pytest
from matplotlib import colormaps
from matplotlib.colors import to_hex

from cycleqd.report import replay
from cycleqd.report.glance import archives_markdown, curve_markdown, heat_map
from cycleqd.search.archive import Archives, grids_from_experts

PAGE = "s3://bucket/runs/one/report/index.html"
SVG = "{http://www.w3.org/2000/svg}"


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
    markdown = archives_markdown(archives(*skills), "g0007", PAGE)
    assert len(list(pictures(markdown))) == len(skills)
    assert all(f"| {skill} |" in markdown for skill in skills)


def test_the_newest_individuals_cell_is_framed():
    archive = archives("coding", "os", "db")["os"]
    assert heat_map(archive, "g0007").count("stroke=") == 1
    assert "stroke=" not in heat_map(archive, "g0099")


def test_an_artifact_of_all_archives_is_small_and_cheap():
    built = archives("coding", "os", "db")
    began = time.perf_counter()
    markdown = archives_markdown(built, "g0007", PAGE)
    assert time.perf_counter() - began < 1
    assert len(markdown) < 100_000


def test_the_curve_has_a_line_per_skill_and_one_for_the_mean(finished):
    (picture,) = pictures(curve_markdown(replay(finished), PAGE))
    lines = picture.findall("{http://www.w3.org/2000/svg}polyline")
    assert len(lines) == len(finished.config().skills) + 1


def texts(picture):
    return [text.text for text in picture.iter(f"{SVG}text")]


def drawn(archive):
    return ElementTree.fromstring(heat_map(archive, "nobody"))  # noqa: S314 - our own drawing


def test_heat_map_has_edges_of_bins_along_both_axes_and_a_bar_with_the_lowest_and_highest_score():
    archive = archives("coding", "os", "db")["os"]
    shown = texts(drawn(archive))
    for grid in archive.grids.values():
        assert {f"{100 * edge:.0f}" for edge in grid.edges[::3]} <= set(shown)
    qualities = [one.scores["os"] for one in archive.cells.values()]
    assert shown[-2:] == [f"{100 * min(qualities):.1f} %", f"{100 * max(qualities):.1f} %"] == ["20.0 %", "60.0 %"]


def test_all_that_is_written_lies_inside_the_picture():
    for skills in (("os",), ("os", "db"), ("coding", "os", "db")):
        picture = drawn(archives(*skills)[skills[0]])
        left, top, width, height = map(float, picture.get("viewBox").split())
        for text in picture.iter(f"{SVG}text"):
            x, y, long = float(text.get("x")), float(text.get("y")), 7 * len(text.text)
            if text.get("transform"):  # written upwards
                assert left <= x - 11
                assert top <= y - long / 2
                assert y + long / 2 <= top + height
                continue
            begin = {"start": x, "middle": x - long / 2, "end": x - long}[text.get("text-anchor")]
            assert left <= begin
            assert begin + long <= left + width
            assert top <= y - 11
            assert y <= top + height


@pytest.mark.parametrize("score", [0.0, 1.0])
def test_archive_in_which_all_score_alike_has_the_middle_colour_and_one_mark_on_its_bar(score):
    skills = ("coding", "os", "db")
    alike = {f"expert-{skill}": dict.fromkeys(skills, score) for skill in skills}
    built = Archives.seeded(skills, grids_from_experts(list(alike.values()), bins=15), alike)["os"]
    low, high = to_hex(colormaps["viridis"](0.0)), to_hex(colormaps["viridis"](1.0))
    colours = [rectangle.get("fill") for rectangle in drawn(built).iter(f"{SVG}rect")]
    assert colours.count(to_hex(colormaps["viridis"](0.5))) == 2  # the cell and the bar
    assert not {low, high} & set(colours)
    assert texts(drawn(built))[-1] == f"{100 * score:.1f} %"
    assert sum(text.endswith(" %") and text[0].isdigit() for text in texts(drawn(built))) == 1


def test_artifacts_say_where_the_whole_page_is(finished):
    assert f"`{PAGE}`" in archives_markdown(archives("os", "db"), "g0007", PAGE)
    assert f"`{PAGE}`" in curve_markdown(replay(finished), PAGE)
