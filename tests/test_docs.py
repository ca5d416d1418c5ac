"""The documentation site: what its own extensions do. `make docs` builds all of it, warnings being errors."""

import ast
import io
import re
import sys
import tomllib
from contextlib import redirect_stdout
from pathlib import Path

import pytest
import stranger
from sphinx.application import Sphinx

import spectral_forecast
from spectral_forecast.cli.bench import BENCHMARKS

ROOT = Path(__file__).parents[1]
# Sphinx's own parts warn of one another.
pytestmark = [
    pytest.mark.filterwarnings(f"ignore::{kind}") for kind in ("DeprecationWarning", "PendingDeprecationWarning")
]


@pytest.fixture
def extensions(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "_ext"))
    import names
    import percent

    yield names, percent
    for name in ("names", "percent"):
        sys.modules.pop(name, None)


def build(folder, **settings):
    """Build the pages in a folder; return the page and what was warned of."""
    settings = {
        "extensions": ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "names", "percent"]
    } | settings
    warned = io.StringIO()
    out = folder / "out"
    app = Sphinx(folder, None, out, out / "trees", "html", settings, status=None, warning=warned, freshenv=True)
    app.build()
    return (out / "index.html").read_text(), re.sub(r"\x1b\[[0-9;]*m", "", warned.getvalue())


@pytest.mark.usefixtures("extensions")
def test_a_name_on_no_page_is_told(tmp_path):
    (tmp_path / "index.md").write_text(
        "# A page\n\n```{eval-rst}\n.. currentmodule:: spectral_forecast\n\n.. autoclass:: Newton\n```\n"
    )
    _, warned = build(tmp_path, nitpicky=True, default_role="py:obj")
    assert "public, but on no page: spectral_forecast.Reuse; add it below docs/api\n" in warned
    assert "spectral_forecast.Newton;" not in warned
    # The same class by another name needs no second entry.
    assert "spectral_forecast.forecasters.polynomial.Newton;" not in warned
    assert "spectral_forecast.forecasters.polynomial.Reuse;" in warned


def test_nothing_is_missing_where_everything_is_there(extensions):
    names, _ = extensions
    everything = {name for name, _ in names.public()}
    assert {f"spectral_forecast.{name}" for name in spectral_forecast.__all__} <= everything
    assert {"spectral_forecast.adapters.torch.Accelerator", "spectral_forecast.theory.run.STATEMENTS"} <= everything
    assert names.missing(everything) == []
    assert names.missing(everything - {"spectral_forecast.theory.run.STATEMENTS"}) == [
        "spectral_forecast.theory.run.STATEMENTS"
    ]
    assert names.undescribed() == []


@pytest.mark.usefixtures("extensions")
def test_names_in_docstrings_are_links_where_they_are_ours(tmp_path):
    rst = ".. autoclass:: spectral_forecast.Newton\n\n`Newton` takes `times` and `order`."
    (tmp_path / "index.md").write_text(f"# A page\n\n```{{eval-rst}}\n{rst}\n```\n")
    page, warned = build(tmp_path, nitpicky=True, default_role="py:obj")
    assert 'href="#spectral_forecast.Newton"' in page
    assert '<span class="pre">times</span>' in page
    assert "reference target not found" not in warned


def test_a_script_is_a_page(extensions, tmp_path):
    _, percent = extensions
    script = (
        '"""Not shown."""\n\n# %% [markdown]\n# # Title\n#\n# Words.\n\n# %%\nx = 1\n# a comment\n\n# %%\nprint(x)\n'
    )
    assert percent.as_markdown(script) == (
        "# Title\n\nWords.\n\n```python\nx = 1\n# a comment\n```\n\n```python\nprint(x)\n```\n"
    )
    (tmp_path / "index.py").write_text(script)
    page, _ = build(tmp_path)
    assert "<h1>Title" in page
    assert "Not shown" not in page


PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files(page):
    """As GitHub shows the pages; that they do so in the site, Sphinx checks."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not target.startswith(("http", "#")):
            assert (page.parent / target.partition("#")[0]).exists(), target


def test_every_page_says_what_it_is_about_first():
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert text.startswith(("# ", "```{include}")), page


def test_the_version_is_said_once_and_cited_alike():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f"\nversion: {project['version']}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"\n## {project['version']} " in (ROOT / "CHANGELOG.md").read_text()


def test_the_site_is_built_before_the_tests():
    steps = (ROOT / ".ci" / "run").read_text().splitlines()
    assert [step for step in steps if step.startswith("make")] == ["make lint", "make docs", "make test"]
    assert " -W " in (ROOT / "Makefile").read_text()
    assert ".ci/run" in (ROOT / ".github" / "workflows" / "ci.yml").read_text()


EXTRAS = stranger.extras(ROOT)
WALKED = stranger.pages(ROOT)
# What code imports, and the extra that brings it; the longest name that fits counts.
BROUGHT = {
    "array_api_compat": None,
    "numpy": None,
    "spectral_forecast": None,
    "spectral_forecast.adapters.cache_dit": "cache-dit",
    "spectral_forecast.adapters.diffusers": "diffusers",
    "spectral_forecast.adapters.jax": "jax",
    "spectral_forecast.adapters.serving": "torch",
    "spectral_forecast.adapters.torch": "torch",
    "spectral_forecast.benchmarks": "demo",
    "spectral_forecast.benchmarks.models": "diffusers",
    "spectral_forecast.plot": "plot",
    "cache_dit": "cache-dit",
    "diffusers": "diffusers",
    "flax": "demo",
    "jax": "jax",
    "matplotlib": "plot",
    "torch": "torch",
}


def imported(program):
    """The full name of whatever a program imports from elsewhere than Python itself."""
    for node in ast.walk(ast.parse(program)):
        if isinstance(node, ast.Import):
            names = [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{name.name}" for name in node.names]
        else:
            continue
        yield from (name for name in names if name.partition(".")[0] not in sys.stdlib_module_names)


def test_every_page_with_code_is_walked():
    walked = {page.path for page in WALKED}
    for page in [*PAGES, *(ROOT / "docs" / "examples").glob("*.py")]:
        if page.suffix == ".py" or "```python" in page.read_text(encoding="utf-8"):
            assert page in walked


@pytest.mark.parametrize("page", [page for page in WALKED if page.blocks], ids=lambda page: page.path.stem)
def test_a_page_says_which_extra_its_code_needs(page):
    assert page.extras is not None
    there = frozenset().union(*(EXTRAS[name] for name in page.extras))
    for name in imported("\n".join(page.blocks)):
        known = max((prefix for prefix in BROUGHT if f"{name}.".startswith(f"{prefix}.")), key=len)
        assert BROUGHT[known] in {None, *there}, name


@pytest.mark.parametrize(
    "page", [page for page in WALKED if page.shown and page.path.suffix == ".md"], ids=lambda page: page.path.stem
)
def test_a_page_shows_what_its_code_prints(page):
    with redirect_stdout(io.StringIO()) as printed:
        exec("\n".join(page.blocks), {})
    for shown in page.shown:
        assert shown in printed.getvalue()


def test_every_extra_for_users_is_explained():
    rows = re.findall(r"^\| `([a-z-]+)` \|", (ROOT / "docs" / "start.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(rows) == EXTRAS.keys() - {"docs", "test", "coverage", "mutants"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_names_is_there(page):
    """Modules that it runs, targets of make, benchmarks, files of this repository, variables of the environment."""
    text = page.read_text(encoding="utf-8")
    for name in re.findall(r"python\s+-m\s+(spectral_forecast[\w.]*)", text):
        module = ROOT / name.rstrip(".").replace(".", "/")
        assert module.with_suffix(".py").exists() or (module / "__main__.py").exists(), name
    for name in re.findall(r"(?:`|^\$ )make ([a-z-]+)", text, re.MULTILINE):
        assert f"\n{name}:" in (ROOT / "Makefile").read_text(encoding="utf-8"), name
    for name in re.findall(r"\bbench ([a-z-]+)`", text):
        assert name in BENCHMARKS
    for name in re.findall(r"`((?:\.ci|adapters|benchmarks|docs|spectral_forecast|tests|theory)/[\w./-]*)`", text):
        assert (ROOT / name).exists() or name == "spectral_forecast/profiles", name  # the user's folder
    for name in re.findall(r"\bSPECTRAL_FORECAST_\w+", text):
        assert f'"{name}"' in (ROOT / "spectral_forecast/forecasters/profile_folder.py").read_text(encoding="utf-8")
