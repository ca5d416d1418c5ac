"""How is the documentation site built? `make docs` runs Sphinx with this file; warnings are errors."""

import sys
from pathlib import Path

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS.parent), str(DOCS / "_ext")]

import spectral_forecast  # noqa: E402 - of this checkout, whatever is installed

project = "spectral_forecast"
author = "The spectral_forecast developers"
project_copyright = author
version = release = spectral_forecast.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "names",  # docs/_ext: links of names in docstrings, and a warning for each public name that no page documents
    "percent",  # docs/_ext: scripts in the percent format are pages
]
exclude_patterns = ["_build", "_ext", "_static", "conf.py"]
nitpicky = True

# The pages are GitHub's Markdown first: what they need beyond it is math.
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

# A name in single backticks is a name of ours where there is one, and code where there is none.
default_role = "py:obj"
autodoc_typehints = "none"  # docstrings tell shapes and units, too
autodoc_preserve_defaults = True
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "no-value": True}
napoleon_google_docstring = False
napoleon_use_param = False
napoleon_use_rtype = False
napoleon_custom_sections = [("Attributes", "params_style")]  # as parameters are: no second entry for each

html_theme = "furo"
html_title = "spectral_forecast"
html_static_path = ["_static"]
html_css_files = ["wide.css"]
html_show_sphinx = False
html_copy_source = False
pygments_style = "friendly"
