"""Does each page work as written, for someone who has nothing but a clone? ``make stranger``; some twenty minutes.

Clones the repository (so that only what is committed is seen) and makes a fresh environment for each set of extras that
pages say they need, as docs/start.md says. There each page's Python runs as one program, in an empty folder, and its
commands as one session, in the clone. What a page shows as printed must be what is printed. Words restrict the run to
pages whose path holds one: ``python tests/stranger.py start examples``. Needs the standard library only.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
LEFT_OUT = {
    "make test": "the whole suite",
    "make bench-speed": "100 minutes, and it means something alone only",
}
WEIGHTS = "black-forest-labs/"  # of tens of gigabytes: such commands are parsed, not run
PARSE = 'python -c "import sys; from spectral_forecast.cli import parser; parser().parse_args(sys.argv[1:])"'


class Page(NamedTuple):
    """What a page asks its reader to have and to run."""

    path: Path
    extras: frozenset[str] | None  # None where it does not say
    blocks: tuple[str, ...]  # of Python: one program
    commands: tuple[str, ...]  # one session of a shell
    shown: tuple[str, ...]  # what the program prints, as the page has it


def extras(root: Path) -> dict[str, frozenset[str]]:
    """Each extra, and those that it brings, itself among them."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = {
        name: {
            extra
            for line in lines
            if line.startswith("spectral-forecast[")
            for extra in re.findall(r"[a-z-]+", line[18:])
        }
        for name, lines in project["optional-dependencies"].items()
    }

    def whole(name: str) -> frozenset[str]:
        return frozenset({name}).union(*(whole(other) for other in named[name]))

    return {name: whole(name) for name in named}


def read(path: Path, known: dict[str, frozenset[str]]) -> Page:
    """Read a page, or a script of docs/examples. It needs what the sentences say that speak of extras."""
    text = path.read_text(encoding="utf-8")
    fenced = re.findall(r"^```(\w+)\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    if path.suffix == ".py":
        fenced, prose = [("python", text)], re.sub(r"\n# ?", " ", text)
        fenced.append(("text", (path.parent / "output" / f"{path.stem}.txt").read_text(encoding="utf-8")))
    said = re.findall(r"\bneeds?\s+(?:no|the)\s+extras?\b[^.(]*", prose)
    needed = set(re.findall(r"`([a-z-]+)`", " ".join(said))) & known.keys()
    needed = {name for name in needed if not any(name in known[other] for other in needed - {name})}
    lines = [line for kind, block in fenced if kind in {"console", "sh"} for line in block.splitlines()]
    return Page(
        path,
        frozenset(needed) if said else None,
        tuple(block for kind, block in fenced if kind == "python"),
        tuple(line.removeprefix("$ ").partition("  #")[0].strip() for line in lines if line),
        tuple(block for kind, block in fenced if kind == "text"),
    )


def pages(root: Path) -> list[Page]:
    """All pages with anything to run, in the order in which a stranger comes to them."""
    docs, known = root / "docs", extras(root)
    toctrees = re.findall(r"```\{toctree\}\n(.*?)```", (docs / "index.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    names = [line for block in toctrees for line in block.splitlines() if line and not line.startswith(":")]
    paths = [root / "README.md", *(docs / f"{name}.md" for name in names), *sorted((docs / "examples").glob("*.py"))]
    found = [read(path, known) for path in paths]
    return [page for page in found if page.blocks or page.commands]


def call(*words: Any, cwd: Path, **changes: str) -> "subprocess.CompletedProcess[str]":
    """Run a command that sees nothing of the environment that this runs in."""
    variables = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    command, variables = [str(word) for word in words], variables | changes
    return subprocess.run(command, cwd=cwd, env=variables, capture_output=True, text=True, check=False, timeout=1800)


def environment(needed: frozenset[str], checkout: Path, folder: Path) -> Path:
    """Install what is needed into an environment of its own, unless it is there; return its folder of programs."""
    place = folder / ("-".join(sorted(needed)) or "core")
    what = f".[{','.join(sorted(needed))}]" if needed else "."
    if not (place / "ready").exists():
        pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-c", "constraints.txt", what]
        for step in ([sys.executable, "-m", "venv", "--clear", place], [place / "bin" / "python", *pip]):
            done = call(*step, cwd=checkout)
            if done.returncode:
                raise RuntimeError(f"{step}:\n{done.stderr}")
        (place / "ready").touch()
    return place / "bin"


def same(shown: str, printed: str) -> bool:
    """Whether what is shown is among what is printed, but for the digits of decimal numbers."""
    shown, printed = (re.sub(r"-?\d+\.\d+(e[-+]\d+)?", "#", " ".join(text.split())) for text in (shown, printed))
    return shown in printed


def session(commands: tuple[str, ...], made: set[str]) -> tuple[str, list[str]]:
    """Make a script of a page's commands; return it, and what is left out or only parsed. ``made`` is made once."""
    lines: list[str] = ["set -ev"]
    remarks: list[str] = []
    for command in commands:
        program, _, rest = command.partition(" ")
        if command in LEFT_OUT:
            remarks.append(f"`{command}`: {LEFT_OUT[command]}")
        elif command in made:
            remarks.append(f"`{command}`: as before")
        elif program == "spectral-forecast" and WEIGHTS in " ".join(commands):
            remarks.append(f"`{program} {rest.split()[0]}`: parsed only")
            lines.append(f"{PARSE} {rest}")
        else:
            lines.append(command)
            made |= {command} if program == "make" else set()
    return "\n".join(lines), list(dict.fromkeys(remarks))


def walk(page: Page, checkout: Path, folder: Path, made: set[str]) -> tuple[list[str], list[str]]:
    """Run a page; return what went wrong, and what was left out."""
    if page.blocks and page.extras is None:
        return ["does not say which extra it needs"], []
    programs = environment(page.extras or frozenset(), checkout, folder)
    changes = {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "HOME": str(folder)}
    wrong = []
    with tempfile.TemporaryDirectory() as empty:
        done = call("python", "-c", "\n".join(page.blocks), cwd=Path(empty), **changes)
    if done.returncode:
        wrong.append(done.stderr)
    wrong += [f"shown:\n{text}\nprinted:\n{done.stdout}" for text in page.shown if not same(text, done.stdout)]
    script, remarks = session(page.commands, made)
    done = call("bash", "-c", script, cwd=checkout, **changes)
    if done.returncode:
        wrong.append(done.stdout + done.stderr)
    return wrong, remarks


def main() -> int:
    """Walk, print a row for each page, and below what went wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("words", nargs="*", metavar="WORD", help="only pages whose path holds one of them")
    parser.add_argument("--folder", type=Path, help="where environments are kept for another run (default: nowhere)")
    options = parser.parse_args()
    failed, made = {}, set()
    with tempfile.TemporaryDirectory() as temporary:
        checkout, folder = Path(temporary) / "checkout", (options.folder or Path(temporary) / "home").resolve()
        folder.mkdir(parents=True, exist_ok=True)
        if call("git", "status", "--porcelain", cwd=ROOT).stdout:
            print("What is not committed is not walked.", file=sys.stderr)
        call("git", "clone", "--quiet", ROOT, checkout, cwd=ROOT)
        print(
            "| page | needs | blocks | commands | seconds | | |\n| --- | --- | ---: | ---: | ---: | --- | --- |",
            flush=True,
        )
        for page in pages(checkout):
            name = page.path.relative_to(checkout).as_posix()
            if options.words and not any(word in name for word in options.words):
                continue
            start = time.monotonic()
            try:
                wrong, remarks = walk(page, checkout, folder, made)
            except (RuntimeError, subprocess.TimeoutExpired) as error:
                wrong, remarks = [str(error)], []
            if wrong:
                failed[name] = wrong
            needs, seconds = ", ".join(sorted(page.extras or ())) or "–", f"{time.monotonic() - start:.0f}"
            cells = [name, needs, len(page.blocks), len(page.commands), seconds, "**failed**" if wrong else "ok"]
            print(f"| {' | '.join(map(str, [*cells, '; '.join(remarks)]))} |", flush=True)
    for name, wrong in failed.items():
        print(f"\n{name}:\n" + "\n".join(text[-3000:] for text in wrong))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
