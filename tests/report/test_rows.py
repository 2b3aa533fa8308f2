"""The table of the report's rows."""

import pytest

from cycleqd.report.rows import ROW_KINDS, Compared, in_order, kind_of, rows_of

COMPARED = Compared(("coding", "os"), {"tsv": "tsv-0.7", "regmean": "regmean-1"}, {"os": "g0003"})


def test_rows_go_from_the_base_to_the_final_model_and_say_whom_they_show():
    assert rows_of(COMPARED) == {
        "base": "base", "expert:coding": "expert-coding", "expert:os": "expert-os", "all-data": "all-data",
        "average": "average", "baseline:tsv": "tsv-0.7", "baseline:regmean": "regmean-1", "elite:os": "g0003",
        "merged": "merged",
        "cycleqd": "aggregate",
    }  # fmt: skip
    assert [row.partition(":")[0] for row in rows_of(COMPARED)] == sorted(
        (row.partition(":")[0] for row in rows_of(COMPARED)), key=list(ROW_KINDS).index
    )


def test_rows_are_put_in_order():
    rows = list(rows_of(COMPARED))
    assert in_order(reversed(rows), COMPARED.skills, ["baseline:tsv", "baseline:regmean"]) == rows
    assert in_order(["cycleqd", "base"], (), ()) == ["base", "cycleqd"]


def test_every_row_is_of_one_kind():
    assert [row for row in rows_of(COMPARED) if kind_of(row).merge] == ["average", "baseline:tsv", "baseline:regmean"]
    assert [row for row in rows_of(COMPARED) if kind_of(row).searched] == ["elite:os", "merged", "cycleqd"]
    with pytest.raises(KeyError):
        kind_of("guess")
