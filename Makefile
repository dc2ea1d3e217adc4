# `make demo`, `make demo-scan`, `make docs`, `make test`, `make check` and `make stress` each set up all they need on a fresh clone.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
WORKERS ?= 2

.PHONY: demo demo-scan docs test check stress clean

$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt "torch==2.13.0"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[test,demo]"
	touch $@

demo: $(READY)
	$(BIN)/bioterp demo dna --out demo

demo-scan: $(READY)
	$(BIN)/bioterp demo scan --out demo-scan

# The pages of docs/ as a site in build/site; a warning is an error.
docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

test: $(READY)
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal tests

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal -m "not slow" tests

# The long form of what the tests hold in short: generated files by the thousand, more than 200 faults and ten kills, every fuzzer.
FUZZ_MINUTES ?= 30

stress: $(READY)
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal --stress -m stress tests
	$(BIN)/python benchmarks/faults.py --trials 32 --kills 10
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[fuzz]"
	$(BIN)/python benchmarks/fuzz/run.py --work build/fuzz --minutes $(FUZZ_MINUTES)

clean:
	rm -rf $(VENV) build dist *.egg-info
