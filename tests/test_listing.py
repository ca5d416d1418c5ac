"""The README's list and the pages of networks and schedulers say what the tables say."""

import re
from pathlib import Path

import pytest

from spectral_forecast.benchmarks import listing
from spectral_forecast.benchmarks.any_scheduler import SCHEDULERS
from spectral_forecast.benchmarks.models import MODELS

# What diffusers itself says when some schedulers are made.
pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword"),
    pytest.mark.filterwarnings("ignore:__array_wrap__ must accept context and return_scalar arguments"),
]

ROOT = Path(__file__).parents[1]


def test_the_readme_has_the_list_that_the_tables_give():
    """If not: ``python -m spectral_forecast.benchmarks.supported --list-only``."""
    assert listing.listing() in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_list_names_every_network_and_every_scheduler():
    words = set(re.findall(r"[\w+. =-]+", " ".join(listing.listing().split())))
    names = {word.strip() for word in words}
    assert {listing.family(model.name) for model in MODELS} <= names
    assert set(listing.UNTIMED) <= names
    assert {name.removesuffix(", flow").replace(", ", " with ") for name in SCHEDULERS} <= names


def test_families_are_apart():
    names = {model.name for model in MODELS}
    assert len({listing.family(name) for name in names}) == len(names)


def test_the_page_of_networks_names_what_is_not_taken():
    page = (ROOT / "docs" / "supported.md").read_text(encoding="utf-8")
    assert all(f"| {name} | | no | no |" in page for name in listing.UNTIMED)


def test_rewriting_changes_nothing_else(tmp_path):
    page = tmp_path / "README.md"
    page.write_text(f"# One\n\n{listing.BEGIN}\nold\n{listing.END}\n\nTwo.\n", encoding="utf-8")
    for _ in range(2):
        listing.rewrite(page)
        assert page.read_text(encoding="utf-8") == f"# One\n\n{listing.listing()}\n\nTwo.\n"
    page.write_text("# One\n", encoding="utf-8")
    with pytest.raises(ValueError, match="has no section between"):
        listing.rewrite(page)
