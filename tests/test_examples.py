"""The examples of docs/examples run as scripts, and print what their pages show."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "examples"
NAMES = sorted(path.stem for path in FOLDER.glob("*.py"))
_NUMBER = re.compile(r"(?<![\w.])-?\d+\.\d+(?:e[+-]?\d+)?")


def parts(text):
    """What a text says besides its decimal numbers, and these numbers."""
    return re.sub(r"\s+", " ", _NUMBER.sub("#", text)).strip(), [float(number) for number in _NUMBER.findall(text)]


@pytest.mark.parametrize("name", NAMES)
def test_an_example_prints_what_its_page_shows(name, tmp_path):
    """If that is meant to change: ``python docs/examples/NAME.py > docs/examples/output/NAME.txt``."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, FOLDER / f"{name}.py"],
        cwd=tmp_path,  # nothing that it needs lies where it is started
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    (words, numbers), (shown, expected) = parts(done.stdout), parts((FOLDER / "output" / f"{name}.txt").read_text())
    assert words == shown
    # Samples of a network differ in their last digits between machines, and the small errors shown are of samples.
    assert numbers == pytest.approx(expected, rel=0.1, abs=1e-3)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", NAMES)
def test_an_example_is_a_notebook_too(name):
    cells = re.findall(r"^# %%(.*)$", (FOLDER / f"{name}.py").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert set(cells) == {"", " [markdown]"}
    assert cells[0] == " [markdown]"
    assert f"({name}.py)" in (FOLDER / "index.md").read_text(encoding="utf-8")
