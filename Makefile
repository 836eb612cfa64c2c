# One environment, .venv, made from pinned versions. `make` alone lists the targets.
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready
PARITY := .venv/parity
DOCS := .venv/docs
OTHER := build/other
SITE := NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
FEW := tests/storage tests/training/test_resume.py

# Bytecode of what is installed is kept even where the environment says otherwise: without it every process that imports JAX
# compiles JAX first, which takes three times as long as the import.
unexport PYTHONDONTWRITEBYTECODE

# What `make demo` compares, on the embedded default world (nothing to download).
# One capacity for all splits: they share compiled programs, so that three take little longer than one.
DEMO := method=popularity,target_only,emcdr,user_knn,ridge_map split.seed=0,1,2 domain.capacity=16384

.DEFAULT_GOAL := help
.PHONY: help demo test smoke parity lint types docs clean

help: ## list the targets
	@awk -F ': .*## ' '/^[a-z]+: .*## / { printf "  make %-7s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(READY) ## set up, run the main job on the simulator, print the comparison
	$(BIN)/transfer -m $(DEMO)

# One thread of NumPy for each worker: more would wait for each other, which cost a fifth of the time of solvers' tests.
test: $(READY) ## set up, run the test suite
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

# What users of another Python have who install no extras, with a run outside of the checkout; two minutes.
smoke: ## under another Python that is found (3.13 or 3.12): a plain install, a run, and a few tests
	@python=$$(for each in python3.13 python3.12 $${PYENV_ROOT:-$$HOME/.pyenv}/versions/3.1[32]*/bin/python; do \
	    "$$each" -c '' 2> /dev/null && echo "$$each" && break; done); \
	test -n "$$python" || { echo "There is no Python 3.12 or 3.13 here: nothing was tried"; exit 0; }; \
	set -e; "$$python" --version; rm -rf $(OTHER); "$$python" -m venv $(OTHER); \
	$(OTHER)/bin/python -m pip install --quiet --no-compile --disable-pip-version-check -c constraints.txt . pytest; \
	bin=$$PWD/$(OTHER)/bin; place=$$(mktemp -d); (cd "$$place" && "$$bin/transfer" domain.users=300 train.epochs=6 hydra.run.dir=run); \
	rm -r "$$place"; $(OTHER)/bin/python -m pytest -p no:cacheprovider $(FEW)

parity: $(PARITY) ## set up PyTorch and transformers, with which the tests then compare the networks

lint: $(DOCS) ## style, formatting, that imports point down through the rooms, and that the pages of docs/ build
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(SITE) --quiet

types: $(READY) ## type checker
	$(BIN)/mypy

docs: $(DOCS) ## build docs/ as a site in build/site; a broken link is an error
	$(SITE)

clean: ## remove the environment, caches and builds; runs are kept
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Python in .venv, with the package and these extras. What is imported is compiled when it first is: all of it takes as long
# as the rest of the set-up.
define set_up
	@command -v $(PYTHON) > /dev/null \
	  || { echo "There is no '$(PYTHON)' here: install Python 3.11 or newer, or write make PYTHON=/path/to/python3.12"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed and '$(PYTHON)' is older: write make PYTHON=/path/to/python3.12"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing the pinned packages into .venv (some minutes the first time)"
	@set -o pipefail; $(BIN)/python -m pip install --no-compile --disable-pip-version-check -c constraints.txt -e '.[$(1)]' \
	  | while read -r doing what _; do \
	      case "$$doing" in Collecting|Building|Installing) [ ! -t 1 ] || printf '\r\033[K  %s %s' "$$doing" "$$what";; esac; \
	    done
	@[ ! -t 1 ] || printf '\r\033[K'
endef
COMMA := ,

# A stamp is written last, so that an interrupted set-up is taken up again.
$(READY): pyproject.toml constraints.txt
	$(call set_up,dev)
	@touch $@

# All at once, with what `make lint` needs, for packages that are there already take as long to resolve as new ones. PyTorch for the CPU is enough; where
# the package index has no CPU build of it, several GB of CUDA come with it.
$(PARITY): pyproject.toml constraints.txt
	$(call set_up,dev$(COMMA)docs$(COMMA)parity)
	@touch $(READY) $(DOCS) $@

$(DOCS): pyproject.toml constraints.txt
	$(call set_up,dev$(COMMA)docs)
	@touch $(READY) $@
