# PYTHON makes the environment; OLDEST is the oldest Python that is supported.
PYTHON ?= python3
OLDEST ?= python3.11

new_enough = $(1) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
install = -m pip install -qq --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: quality demo test test-slow check test-lowest bench bench-growth bench-check lock clean help

demo: .venv/.ready  ## Analyse an example data set; the page goes to report/demo
	.venv/bin/cellglass demo -o report/demo --overwrite

test: .venv/.ready  ## Run the tests, in two processes
	.venv/bin/python -m pytest -n 2 --dist worksteal

test-slow: .venv/.ready  ## Run the tests that take minutes each, and those on bits as shipped
	XLA_FLAGS= .venv/bin/python -m pytest -m 'slow or as_shipped' -n 2 --dist worksteal -v

check: .venv/.ready  ## Check style, types and the rules of CONTRIBUTING.md
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/python tools/check_style.py

test-lowest: .venv-lowest/.ready  ## Run the tests on the oldest versions allowed
	.venv-lowest/bin/python -m pytest -n 2 --dist worksteal

bench: .venv/.ready .bench/keras/.ready .bench/scvi/.ready  ## Time cellglass beside Keras, PyTorch and scVI
	.venv/bin/python benchmarks/speed/run.py --write

bench-growth: .venv/.ready  ## Time and memory by cells, genes, latent sizes and runs
	.venv/bin/python benchmarks/growth.py

quality: .venv/.ready  ## Judge clusters on labelled sets, and print: make quality DATA=folder
	.venv/bin/python benchmarks/quality/run.py $(DATA)

bench-check: .venv/.ready  ## Fail if something has become far slower than it was
	.venv/bin/python benchmarks/regression.py

lock:  ## Write the newest versions allowed to constraints.txt
	$(OLDEST) -m venv --clear build/lock
	build/lock/bin/python $(install) -e '.[dev]'
	sed -n '/^#/p' constraints.txt > build/constraints.txt
	build/lock/bin/python -m pip freeze --exclude-editable >> build/constraints.txt
	mv build/constraints.txt constraints.txt

clean:  ## Remove the environments and all that was made here
	rm -rf .venv .venv-lowest .bench build dist report/demo
	rm -rf .pytest_cache .hypothesis .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# An environment that is there already is kept if its Python will do.
.venv/.ready: pyproject.toml constraints.txt
	@$(call new_enough,.venv/bin/python) || $(call new_enough,$(PYTHON)) || { \
	    echo "cellglass needs Python 3.11 or newer; here is: $$($(PYTHON) --version 2>&1)" >&2; \
	    echo "Name another one, such as: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@$(call new_enough,.venv/bin/python) || $(PYTHON) -m venv --clear .venv
	@.venv/bin/python -m pip --version > /dev/null 2>&1 || .venv/bin/python -m ensurepip
	@echo "Installing into .venv, about 1.6 GB; this takes a minute or more."
	@.venv/bin/python $(install) -c constraints.txt -e '.[dev]'
	@touch $@

.venv-lowest/.ready: pyproject.toml tools/lowest.py
	$(OLDEST) -m venv --clear .venv-lowest
	echo '*' > .venv-lowest/.gitignore
	$(OLDEST) tools/lowest.py > .venv-lowest/lowest.txt
	.venv-lowest/bin/python $(install) -c .venv-lowest/lowest.txt -e '.[dev]'
	touch $@

# Each of those that cellglass is timed beside has an environment of its own.
.bench/%/.ready: benchmarks/speed/environments/%.txt
	$(PYTHON) -m venv --clear .bench/$*
	echo '*' > .bench/.gitignore
	@echo "Installing into .bench/$*, one or two GB; this takes some minutes."
	.bench/$*/bin/python $(install) -r $<
	touch $@
