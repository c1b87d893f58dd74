# `make demo` and `make test` need nothing but Python 3.11 or newer; the first run makes .venv,
# `make demo` with what the program needs, and the others with the development tools, too.
PYTHON  ?= python3
PYTHONS ?= 3.11 3.12 3.13 3.14
VENV   := .venv
BIN    := $(VENV)/bin
# Without its cache of bytecode each process of a run would compile the program and the tests again.
unexport PYTHONDONTWRITEBYTECODE
# More than there are processors, because many tests wait. With too many, servers miss deadlines.
WORKERS ?= $(shell echo $$(($$(getconf _NPROCESSORS_ONLN) * 2 + 1)))
PYTEST := $(BIN)/pytest --numprocesses=$(WORKERS) --dist=worksteal

.PHONY: help demo check test coverage pythons cluster soak lint typecheck format bench counts reliability docs lock release image image-test clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 12

INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable

$(VENV)/program: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) '.[demo]'
	touch $@

$(VENV)/installed: $(VENV)/program
	$(INSTALL) '.[demo,dev]'
	touch $@

demo: $(VENV)/program ## watch GPU utilization scale a Deployment, on loopback; ARGS="--duration 20s", or ARGS="--signal queue" for LLM serving
	@$(BIN)/gpu-metrics-server demo $(ARGS)

check: lint typecheck ## lint, types, and all but the slow tests
	$(PYTEST) -m 'not slow' --hypothesis-profile=quick $(ARGS)

test: lint typecheck ## everything that must pass
	$(PYTEST) $(ARGS)

coverage: $(VENV)/installed ## the tests, which must cover 98 % of the branches
	$(PYTEST) --cov $(ARGS)

pythons: ## the tests on each supported Python that is in the PATH
	@for version in $(PYTHONS); do \
		if ! python$$version --version >/dev/null 2>&1; then echo "python$$version is not in the PATH: skipped"; continue; fi; \
		$(MAKE) --no-print-directory PYTHON=python$$version VENV=.venv-$$version .venv-$$version/installed || exit 1; \
		echo "python$$version:"; .venv-$$version/bin/pytest --numprocesses=$(WORKERS) --dist=worksteal $(ARGS) || exit 1; \
	done

cluster: $(VENV)/installed ## install on a real control plane, whose programs are in CONTROL_PLANE=FOLDER; TESTS=FILE runs just that
	@test -n "$(CONTROL_PLANE)" || { echo "CONTROL_PLANE: name the folder of etcd, kube-apiserver, kube-controller-manager and kube-scheduler"; exit 2; }
	@$(BIN)/python -m tests.support.carried
	CONTROL_PLANE=$(abspath $(CONTROL_PLANE)) unshare --map-root-user --net --mount \
		sh -c 'ip link set lo up && exec "$$@"' sh $(BIN)/pytest $(or $(TESTS),tests/cluster) $(ARGS)

soak: $(VENV)/installed ## run a server for DURATION=1h while everything around it fails; ARGS="--seed N" repeats a run
	$(BIN)/python -m tests.soak --duration $(or $(DURATION),1h) $(ARGS)

lint: $(VENV)/installed ## style, formatting, spelling, generated tables, and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/codespell
	$(BIN)/python -m tests.docs.reference --check
	$(BIN)/python -m tests.deployments.values_schema --check

typecheck: $(VENV)/installed ## strict types
	$(BIN)/mypy

format: $(VENV)/installed ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/installed ## measure what docs/performance.md has, and write bench.json; ARGS="warm scale" measures just those
	$(BIN)/python -m tests.bench $(ARGS)

counts: $(VENV)/installed ## count calls, instructions and memory of fixed pieces of work, against what is recorded; ARGS=--write records them
	@$(BIN)/python -m tests.bench.counts $(ARGS)

reliability: $(VENV)/installed ## write the table of docs/reliability.md, DURATION=60s per peer
	$(BIN)/python -m tests.reliability $(or $(DURATION),60s)

docs: $(VENV)/installed ## write the tables of docs/reference.md and the chart's schema from the code, check the documents, and build site/
	$(BIN)/python -m tests.docs.reference
	$(BIN)/python -m tests.deployments.values_schema
	$(BIN)/pytest tests/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

lock: ## pin what `make` installs to the newest releases that pyproject.toml allows
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/pip install --quiet --disable-pip-version-check --editable '.[demo,dev]'
	.venv-lock/bin/pip freeze --exclude-editable >constraints.txt
	rm -rf .venv-lock

release: $(VENV)/installed ## commit, tag and build VERSION=1.2.3 into dist/; ARGS=--dry-run only builds it
	@$(BIN)/python -m tests.release $(or $(VERSION),$(error VERSION: say which, such as VERSION=1.2.3)) $(ARGS)

image: $(VENV)/installed ## build the image, its bill of materials and its provenance into dist/; VERSION=1.2.3 of that tag, PLATFORMS=linux/amd64 only
	@$(BIN)/python -m tests.image $(if $(VERSION),--version=$(VERSION)) $(if $(PLATFORMS),--platforms=$(PLATFORMS))

image-test: $(VENV)/installed ## build the image with buildah and test it, for arm64 too where it can be emulated; as root on Debian
	IMAGE_TEST=1 $(BIN)/pytest tests/image -o faulthandler_timeout=1800 $(ARGS)

clean: ## remove everything that was generated
	rm -rf $(VENV) .venv-* build dist site .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
