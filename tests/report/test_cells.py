"""Archives as pictures whose cells can be asked."""

from itertools import combinations

import pytest

from cycleqd.report import replay
from cycleqd.report.cells import LEFT, RIGHT, SIZE, TOP, archive_picture, strength
from tests.report.synthetic import synthetic_run


def test_archive_in_which_all_score_alike_is_painted_neither_high_nor_low() -> None:
    assert strength(0.0, 0.0, 0.0) == strength(1.0, 1.0, 1.0) == 0.5
    assert strength(0.2, 0.2, 0.6) < strength(0.4, 0.2, 0.6) < strength(0.6, 0.2, 0.6) == 1.0


def test_archive_of_three_axes_is_shown_along_each_pair_of_them_and_nobody_is_lost(storage: str) -> None:
    skills = ("coding", "os", "db", "mbpp_plus")
    history = replay(synthetic_run(storage, skills=skills, generations=12))
    hidden = 0
    for skill in skills:
        picture = archive_picture(history, skill, {})
        others = [other for other in skills if other != skill]
        assert [view.axes for view in picture.views] == [f"{a} and {b}" for a, b in combinations(others, 2)]
        held = sorted(one.id for one in history.now.cells[skill].values())
        for view in picture.views:
            shown = [name for square in view.squares for name in (square.id, *square.behind)]
            assert sorted(shown) == held
            for square in view.squares:
                hidden += len(square.behind)
                if square.behind:
                    assert square.told[-1] == f"the best in {skill} of {len(square.behind) + 1} in this square"
    assert hidden


@pytest.mark.parametrize("skills", [("os",), ("os", "db"), ("coding", "os", "db")])
def test_everything_of_an_archives_picture_lies_inside_it(storage: str, skills: tuple[str, ...]) -> None:
    history = replay(synthetic_run(storage, skills=skills, generations=3))
    for skill in skills:
        for view in archive_picture(history, skill, {}).views:
            for tick in view.y_ticks:
                assert tick.at + 4 - 11.5 >= 0
            for tick in view.x_ticks:
                assert tick.at + 7 * len(tick.text) / 2 <= LEFT + SIZE + RIGHT
            for square in view.squares:
                assert LEFT <= square.x <= square.x + square.width <= LEFT + SIZE + 0.1
                assert TOP - 0.1 <= square.y <= square.y + square.height <= TOP + SIZE + 0.1
