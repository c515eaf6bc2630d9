# make demo: install, run the whole pipeline on the embedded data set, print the table.   make test: install, test.
# make check: install, lint, types, fast tests.
PYTHON ?= python3
BIN := $(CURDIR)/.venv/bin
# DVC runs the stages with the tools of .venv, and nothing of theirs is left outside this folder
export PATH := $(BIN):$(PATH)

.PHONY: install demo test check faults scale docs lint types clean

install: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt -e '.[dev]'
	@touch $@

demo: install
	@git rev-parse --git-dir > /dev/null 2>&1 || dvc config --local core.no_scm true    # unpacked, not cloned
	dvc repro
	@stillroom report --show

# Most tests wait for real processes, so there are two workers a core; a file's tests share what they set up, so each
# file stays in one worker
WORKERS = $(shell $(PYTHON) -c 'import os; print(min(8, 2 * len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 4))')
test: install
	python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

# What one runs before each commit: two minutes
check: lint types
	python -m pytest -n auto --dist loadfile -m "not slow"

# What a cache survives: kills, flipped bits, full disks, hostile files; and how large and fast it is
faults: install
	python -m tests.faults

# How a million samples are opened, cached and trained from: some minutes, and gigabytes in the temporary folder
scale: install
	stillroom bench --only scale

# The pages and a reference of the library as a site: site/index.html, to be opened from the disk
docs: install
	NO_MKDOCS_2_WARNING=1 mkdocs build --quiet

lint: install
	ruff check .
	ruff format --check .

types: install
	mypy

clean:
	rm -rf .venv build site *.egg-info
