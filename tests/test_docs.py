"""The documentation site: what its own extensions do. `make docs` builds all of it, warnings being errors."""

import io
import re
import sys
import tomllib
from pathlib import Path

import pytest
from sphinx.application import Sphinx

import spectral_forecast

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
