"""Programs that run as several processes at once, each within a bound of time."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]


class Ended(NamedTuple):
    """How one process ended: its status, the JSON that it printed last, and what it complained of."""

    status: int
    found: object
    errors: str


def launch(program, world, *arguments, seconds=300):
    """Run ``program RANK WORLD RENDEZVOUS ARGUMENTS...`` as ``world`` processes; those that hang are ended."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    options = {"cwd": ROOT, "env": environment, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with tempfile.TemporaryDirectory() as folder:
        places = [str(world), str(Path(folder) / "rendezvous"), *arguments]
        command = [sys.executable, f"tests/{program}"]
        started = [subprocess.Popen([*command, str(rank), *places], **options) for rank in range(world)]
        try:
            printed = [process.communicate(timeout=seconds) for process in started]
        finally:
            for process in started:
                process.kill()
                process.communicate()
    return [
        Ended(process.returncode, json.loads(output.splitlines()[-1]) if output else None, errors)
        for process, (output, errors) in zip(started, printed, strict=True)
    ]


def found(program, world, *arguments, seconds=300):
    """What each of the processes found; none of them may fail."""
    ended = launch(program, world, *arguments, seconds=seconds)
    for process in ended:
        assert process.status == 0, process.errors
    return [process.found for process in ended]
