# Marginal: `make demo` shows it at work, `make test` proves it. On a fresh machine git, make and any Python 3.11+ are enough.

PYTHON ?= 3.12
WORKSPACE ?= demo
UV := .tools/bin/uv
BIN := .venv/bin
READY := .venv/.ready

.PHONY: help setup demo test check bench peers soak serve lock clean

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | expand -t 10

setup: $(READY) ## make the environment: uv in .tools, the locked packages in .venv

demo: $(READY) ## run the whole pipeline on the demo company (folder demo/) and say where its report is
	@$(BIN)/marginal demo demo

test: $(READY) ## run the tests
	$(BIN)/pytest -q -n 2 --dist loadfile

check: $(READY) ## lint, format, types, import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

peers: .peers/.locked ## make the environment of the peers that the benchmarks run beside us, in .peers

bench: $(READY) .peers/.locked ## measure against the peers and write benchmarks/RESULTS.md
	$(BIN)/python benchmarks/run.py

soak: $(READY) ## the long torture runs, of which `make test` runs a short form
	HYPOTHESIS_PROFILE=soak $(BIN)/pytest -q -m soak

serve: $(READY) ## Prefect's server and page, the deployments and a worker, until Ctrl-C (WORKSPACE=demo)
	@$(BIN)/marginal serve -w $(WORKSPACE)

lock: $(UV) ## resolve pyproject.toml again into requirements.lock (UPGRADE=--upgrade for newer versions)
	$(UV) pip compile --universal --generate-hashes --python-version 3.12 --no-header pyproject.toml --group dev $(UPGRADE) -o requirements.lock
	$(UV) pip compile --universal --generate-hashes --python-version 3.12 --no-header --group bench $(UPGRADE) -o requirements-bench.lock

clean: ## remove the environment and the caches; workspaces stay
	rm -rf .venv .peers .tools build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# pyenv's shim answers for a version that is not installed with an error, hence the search for a Python that runs.
$(UV):
	@for python in python3 python3.13 python3.12 python3.11 /usr/bin/python3; do \
	  if $$python -m pip --version >/dev/null 2>&1; then \
	    echo "Bringing uv into .tools"; \
	    exec $$python -m pip install --quiet --disable-pip-version-check --root-user-action ignore --upgrade --target .tools uv; \
	  fi; \
	done; echo "No Python 3 with pip was found, which setup needs to bring in uv: install one and run make again." >&2; exit 1

.venv/bin/python: | $(UV)
	@$(UV) venv --quiet --allow-existing --python $(PYTHON) .venv 2>/dev/null || { \
	  echo "No Python $(PYTHON) was found and none could be downloaded: install Python $(PYTHON) and run make again." >&2; exit 1; }

.venv/.locked: requirements.lock | .venv/bin/python
	$(UV) pip sync --python .venv --quiet --require-hashes --compile-bytecode requirements.lock
	@touch $@

.peers/.locked: requirements-bench.lock | .venv/bin/python
	$(UV) venv --quiet --allow-existing --python .venv/bin/python .peers
	$(UV) pip sync --python .peers --quiet --require-hashes requirements-bench.lock
	@touch $@

$(READY): .venv/.locked pyproject.toml
	$(UV) pip install --python .venv --quiet --no-deps --no-build-isolation --editable .
	@touch $@
