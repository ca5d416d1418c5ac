"""Run the Python blocks of the Markdown pages as tests; each page is one program, from top to bottom."""

from importlib.util import find_spec

from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser

pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser(), SkipParser()], patterns=["README.md", "docs/*.md"]
).pytest()

# What needs Triton is imported to find doctests, but PyTorch for processors comes without it.
KERNELS = ["adapters/_session/kernels.py", "spectral_forecast/adapters/_session/kernels.py", "tests/in_interpreter.py"]
collect_ignore = [] if find_spec("triton") else KERNELS
# The site's own; the examples, which tests/test_examples.py runs as scripts; a program with mistakes in its types.
collect_ignore_glob = ["docs/*.py", "tests/data/*.py"]
