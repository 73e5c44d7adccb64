# Two commands are all: `make repro` and `make test`. Both make .venv when it is missing.
PYTHON ?= python3
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

SHOWN := Experiment|op|dataset|scale|compactness|status|cycle\.acc|cycle\.acc_ci|cycle\.taa|ticket\.acc|delta\.acc|newborn\.act|newborn\.grad|stream\.taoa

.PHONY: help repro exp show test lint bench soak golden clean

help: ## Say what can be made
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

.venv/ready: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	    || { echo "Python 3.11 or later is needed; $(PYTHON) is older. Try: make PYTHON=python3.12" >&2; exit 2; }
	@echo "Installing the pinned packages into .venv: 2.8 GB to download, 6.1 GB on disk; once." >&2
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.txt
	@touch $@

repro: .venv/ready ## Run the pipeline; the report is reports/report.html
	dvc repro
	@echo "Open reports/report.html in a browser. Compare: make exp ARGS=\"-S op=prune\"; make show"

exp: .venv/ready ## Run an experiment: make exp ARGS="-S op=prune -S compactness=0.2"
	dvc exp run $(ARGS)

show: .venv/ready ## Print all experiments side by side
	@COLUMNS=$${COLUMNS:-200} dvc exp show --sort-by cycle.acc --sort-order desc --drop '.*' --keep '^($(SHOWN))$$' --no-pager

test: .venv/ready ## Run all tests
	pytest

lint: .venv/ready ## Check style and types
	ruff check .
	ruff format --check .
	mypy

bench: .venv/ready ## Measure the engine (steps against a plain PyTorch loop, edits, diagnostics) and the statistics
	python -m benchmarks

soak: .venv/ready ## Let everything go wrong that can, for about 40 minutes; continues; writes reports/reliability.md
	python -m soak $(ARGS)

golden: .venv/ready ## Store the golden runs anew (results change: say why in the commit)
	cd tests && PYTHONPATH=../src python test_golden.py

clean: ## Remove checkpoints and the environment
	rm -rf .checkpoints .venv
