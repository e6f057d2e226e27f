# Every target makes what it needs: a fresh clone needs only Python 3.11, pip, make, and for `test` Node 20 and npm.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
ARIADNE := tests/clients/ariadne
SCANNERS := tests/scanners
CLIENTS := tests/clients/node_modules/.ready build/ariadne/.ready
REST := benchmarks/rivals/rest
RIVALS := benchmarks/rivals/node/node_modules/.ready build/rest/.ready

.DEFAULT_GOAL := help

help: ## say what there is
	@awk -F':.*## ' '/^[a-z]+:.*## /{printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

dev: $(READY) ## run Postgres, Valkey, Temporal, the API, a tracker and the example worker until Ctrl-C
	@exec $(BIN)/temporal-graphql dev

test: $(READY) $(CLIENTS) ## run all tests against real servers
	$(BIN)/pytest --numprocesses 3 --dist loadscope $(ARGS)

faults: $(READY) ## run the fault matrix at its full size (16 minutes) and write docs/faults.md
	$(BIN)/pytest tests/faults --faults=full $(ARGS)

scan: $(READY) build/scanners/.ready build/graphqler/.ready ## run the scanners of docs/security.md (10 minutes)
	$(BIN)/pytest $(SCANNERS)/scans.py $(ARGS)

bench: $(READY) $(RIVALS) ## compare it with its rivals (25 minutes) and write docs/benchmarks.md
	$(BIN)/python -m benchmarks.speed $(ARGS)

check: $(READY) ## format, lint, types, import contracts, bandit, schema snapshot and its breaks, docs/errors.md
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/bandit --quiet --configfile pyproject.toml --recursive app schema resolvers migrations examples
	$(BIN)/temporal-graphql schema | diff -u schema.graphql - || { echo "schema.graphql is stale: make schema"; exit 1; }
	$(BIN)/python -m schema.breaking
	$(BIN)/python -m schema.manual | diff -u docs/errors.md - || { echo "docs/errors.md is stale: make schema"; exit 1; }

fix: $(READY) ## format and mend what can be mended
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

schema: $(READY) ## print the schema into schema.graphql, and its errors into docs/errors.md
	$(BIN)/temporal-graphql schema > schema.graphql
	$(BIN)/python -m schema.manual > docs/errors.md

playground: ## build the playground's assets anew from its npm packages
	npm --prefix playground ci
	npm --prefix playground run build

lock: $(READY) ## pin every dependency with its hashes
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-emit-find-links \
		--custom-compile-command "make lock" $(LOCK) --extra embedded --output-file requirements.txt pyproject.toml
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-emit-find-links \
		--custom-compile-command "make lock" $(LOCK) --extra embedded --group dev --constraint requirements.txt \
		--output-file requirements-dev.txt pyproject.toml
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-emit-find-links \
		--custom-compile-command "make lock" $(LOCK) --output-file $(ARIADNE)/requirements.txt $(ARIADNE)/requirements.in
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-emit-find-links \
		--custom-compile-command "make lock" $(LOCK) --output-file $(SCANNERS)/requirements.txt $(SCANNERS)/requirements.in
	$(BIN)/uv pip compile --quiet --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
		--custom-compile-command "make lock" $(LOCK) --output-file $(SCANNERS)/graphqler.txt $(SCANNERS)/graphqler.in
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-emit-find-links \
		--custom-compile-command "make lock" $(LOCK) --constraint requirements.txt \
		--output-file $(REST)/requirements.txt $(REST)/requirements.in
	$(MAKE) sbom

sbom: $(READY) ## write the bill of materials, sbom.cdx.json, out of the lock
	$(BIN)/python -m tests.scanners.bill > sbom.cdx.json

$(READY): requirements-dev.txt pyproject.toml
	test -d .venv || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

%/node_modules/.ready: %/package-lock.json
	npm --prefix $* ci --no-audit --no-fund --loglevel=error
	touch $@

# What wants other versions than we do has an environment of its own.
build/ariadne/.ready: $(ARIADNE)/requirements.txt
build/scanners/.ready: $(SCANNERS)/requirements.txt
build/graphqler/.ready: $(SCANNERS)/graphqler.txt
build/rest/.ready: $(REST)/requirements.txt
build/%/.ready:
	$(PYTHON) -m venv build/$*/.venv
	build/$*/.venv/bin/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r $^
	touch $@

.PHONY: help dev test faults scan bench check fix schema playground lock sbom
