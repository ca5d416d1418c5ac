"""The page of profiles: its table has every cell that is measured, and one cell is measured anew."""

from pathlib import Path

import pytest

from spectral_forecast.benchmarks import profiles

PAGE = Path(__file__).parents[1] / "docs" / "profiles.md"


def cells(table):
    rows = [line for line in table.splitlines() if line.startswith("|")]
    return [[word.strip() for word in row.strip("|").split("|")] for row in rows]


def written():
    """The table of the page."""
    return PAGE.read_text(encoding="utf-8").partition(profiles.BEGIN)[2].partition(profiles.END)[0]


def test_the_table_holds_every_cell():
    """If not: ``python -m spectral_forecast.benchmarks.profiles``."""
    head, _, *rows = cells(written())
    assert head == profiles.HEAD
    names = [f"{cell.model.NAME}, {cell.guidance:g}" for cell in profiles.CELLS for _ in profiles.BUDGETS]
    assert [row[:2] for row in rows] == [
        [name, str(count)] for name, count in zip(names, profiles.BUDGETS * len(profiles.CELLS), strict=True)
    ]


def test_a_cell_of_the_table_is_measured_again():
    """The profile of one run; that of sixteen takes its time."""
    rows = profiles.measure(profiles.CELLS[0], runs=1, budgets=(14,))
    expected = next(row for row in cells(written())[2:] if row[1] == "14")
    (found,) = rows
    assert found[3] == found[4]
    columns = [2, 4, 5]  # the default, the profile of one run, the default without the corrector
    assert [float(found[k]) for k in columns] == pytest.approx([float(expected[k]) for k in columns], abs=0.3)


def test_the_table_is_written_between_its_marks(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{profiles.BEGIN}\nold\n{profiles.END}\nafter\n")
    profiles.rewrite(page, "| new |")
    assert page.read_text() == f"before\n{profiles.BEGIN}\n\n| new |\n\n{profiles.END}\nafter\n"
    page.write_text("no marks")
    with pytest.raises(ValueError, match="has no section between"):
        profiles.rewrite(page, "| new |")
