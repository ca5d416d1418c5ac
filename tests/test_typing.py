"""Type checkers see the package as its users do: what is right passes, what is wrong is found."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROGRAM = ROOT / "tests" / "data" / "user_program.py"
MISTAKES = [n for n, line in enumerate(PROGRAM.read_text().splitlines(), 1) if line.endswith("# expect: error")]


def test_mypy(tmp_path):
    program = shutil.copy(PROGRAM, tmp_path / "program.py")
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--cache-dir", ROOT / ".mypy_cache", program]
    environment = {**os.environ, "MYPYPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    found = [int(line) for line in re.findall(r"^program\.py:(\d+): error", done.stdout, flags=re.MULTILINE)]
    assert found == MISTAKES, done.stdout
    assert done.stdout.count(": error") == len(found), done.stdout  # none inside the package


CHECKER = shutil.which("pyright") or shutil.which("basedpyright")


@pytest.mark.skipif(CHECKER is None, reason="pyright needs node; neither it nor basedpyright is installed")
def test_pyright(tmp_path):
    program = shutil.copy(PROGRAM, tmp_path / "program.py")
    settings = {"extraPaths": [str(ROOT)], "typeCheckingMode": "standard", "include": ["program.py"]}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    command = [CHECKER, "--outputjson", "--pythonpath", sys.executable, "--project", tmp_path]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    told = json.loads(done.stdout)["generalDiagnostics"]
    errors = {one["range"]["start"]["line"] + 1 for one in told if one["severity"] == "error"}
    assert errors == set(MISTAKES), (program, told)
