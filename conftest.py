"""Run the Python blocks of the Markdown pages as tests; each page is one program, from top to bottom."""

from importlib.util import find_spec

from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser

pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser(), SkipParser()], patterns=["README.md", "docs/*.md"]
).pytest()

# Its modules are imported to find their doctests; PyTorch for processors comes without Triton.
collect_ignore = (
    []
    if find_spec("triton")
    else [f"{place}/_session/kernels.py" for place in ("adapters", "spectral_forecast/adapters")]
)
# The site's own; the examples, which tests/test_examples.py runs as scripts; a program with mistakes in its types.
collect_ignore_glob = ["docs/*.py", "tests/data/*.py"]
