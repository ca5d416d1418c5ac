# Two commands do everything on a fresh machine with Python (3.11 or later) and make:
#   make demo   samples digits with a small trained FLUX transformer, full and accelerated; writes out/demo
#   make test   runs every test
#   make theory checks every statement on drawn cases and writes the report to out/theory
#   make docs   builds the documentation site into out/docs; a warning is an error
#   make bench-quality measures every method on five small models and writes docs/quality.md; some 15 minutes on two cores
#   make bench-speed measures what forecasting costs and writes docs/speed.md; three hours or more, with nothing else
#   make coverage runs every test and says which lines and branches none of them takes; fails where they are too many
#   make stranger follows the documentation from a fresh clone, in fresh environments; some twenty minutes
#   make mutants changes the numerics one operator at a time and asks which changes no test notices; an hour or two
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo theory docs bench-quality bench-speed stranger coverage mutants test lint format clean
.DELETE_ON_ERROR:

demo: .venv/ready
	$(BIN)/spectral-forecast demo --out out/demo

theory: .venv/ready
	$(BIN)/python -m spectral_forecast.theory --out out/theory

# -E reads every page anew: names of the package may have changed where pages have not.
docs: .venv/ready
	OMP_NUM_THREADS=1 $(BIN)/python -m sphinx -b html -E -W --keep-going -n -q docs out/docs

bench-quality: .venv/ready
	OMP_NUM_THREADS=1 $(BIN)/python -m spectral_forecast.benchmarks.quality

bench-speed: .venv/ready
	$(BIN)/python -m spectral_forecast.benchmarks.speed

coverage: .venv/ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[coverage]'
	$(BIN)/coverage erase
	HYPOTHESIS_PROFILE=brief OMP_NUM_THREADS=1 $(BIN)/coverage run -m pytest -q -n auto --dist loadfile
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --include 'spectral_forecast/*' --fail-under 95
	$(BIN)/coverage report --include 'adapters/*' --fail-under 90

# Needs nothing of ours: it makes its own environments.
stranger:
	$(PYTHON) tests/stranger.py

mutants: .venv/ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[mutants]'
	$(BIN)/python tests/mutants.py

# Files are not split: the blocks of a Markdown page are one program.
test: .venv/ready
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto --dist loadfile --durations 10

lint: .venv/ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: .venv/ready
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# k-diffusion goes without its requirements: its samplers need few of them, and torchvision has no build for the
# pinned torch.
.venv/ready: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps k-diffusion
	touch $@

clean:
	rm -rf .venv out build dist *.egg-info
