"""What docs/security.md promises of the sources: nothing is unpickled, nothing that was read is run."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("spectral_forecast", "adapters", "benchmarks", "theory")
SOURCES = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
READERS = {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "joblib", "yaml"}
RUNNERS = {"eval", "exec", "compile", "__import__"}


def offences(source):
    """What in a program unpickles, or runs what it has read."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.partition(".")[0] in READERS)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in READERS:
            yield node.module
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            words = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            if called in RUNNERS or called == "torch.load":
                yield called
            yield from (name for name in ("allow_pickle", "trust_remote_code") if words.get(name, "False") != "False")
            if words.get("shell", "False") != "False":
                yield "shell"


def test_nothing_is_unpickled_and_nothing_read_is_run():
    assert len(SOURCES) > 100
    found = {str(path): list(offences(path.read_text(encoding="utf-8"))) for path in SOURCES}
    assert {path: names for path, names in found.items() if names} == {}


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import pickle", ["pickle"]),
        ("from joblib.numpy_pickle import load", ["joblib.numpy_pickle"]),
        ("torch.load(path)", ["torch.load"]),
        ("np.load(path, allow_pickle=True)", ["allow_pickle"]),
        ("np.load(path, allow_pickle=False)", []),
        ("Pipeline.from_pretrained(name, trust_remote_code=trusted)", ["trust_remote_code"]),
        ("exec(text)", ["exec"]),
        ("subprocess.run(text, shell=True)", ["shell"]),
        ("model.eval(); re.compile('a')", []),
    ],
)
def test_the_check_finds_what_it_is_to_find(source, found):
    assert list(offences(source)) == found
