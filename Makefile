# Two commands are all a newcomer needs: `make demo` and `make test`.
PYTHON ?= $(or $(shell command -v python3.11),python3)
PERSONS ?= 60000
SEED ?= 2026
ENV := .venv/.installed

.PHONY: demo test lint bench bench-linkage bench-disclosure bench-scanner bench-path crash faults lost-workers mutation lock clean

$(ENV): requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: $(ENV)  ## the main job, told as a story; figures in var/demo/report.json
	.venv/bin/python -m api.demo --persons $(PERSONS) --seed $(SEED) --out var/demo

test: $(ENV)  ## every test, and every branch of keyvault, permits and access; fetches Debian packages
	tests/outside.sh
	.venv/bin/python -m pytest -n 2 --cov --cov-fail-under=100

lint: $(ENV)  ## style, types
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

bench: $(ENV)  ## ratios, side by side in one run
	.venv/bin/python -m tests.bench

bench-linkage: $(ENV)  ## this engine beside Splink; ARGS="--only 1m-narrow" for some rows
	.venv/bin/python -m tests.bench.linkage $(ARGS)

bench-scanner: $(ENV)  ## identifiers planted in columns: how many are missed, how many alarms are false
	.venv/bin/python -m tests.bench.scanner

bench-disclosure: $(ENV)  ## measures of disclosure and what mends a file, beside their peers; ARGS="--only k"
	.venv/bin/python -m tests.bench.disclosure $(ARGS)

crash: $(ENV)  ## processes killed 200 times at any moment, and at every crash point
	tests/outside.sh
	.venv/bin/python -m tests.crash

faults: $(ENV)  ## a fault in each class of call that makes things durable; ARGS="--most 0" for every call
	tests/outside.sh
	.venv/bin/python -m tests.faults $(ARGS)

lost-workers: $(ENV)  ## Spark's workers killed while they work: the same links (two minutes)
	tests/outside.sh
	.venv/bin/python -m tests.linkage.lost_workers

bench-path: $(ENV)  ## two gigabytes from a holder's disk to sealed objects, beside age; some minutes
	.venv/bin/python -m tests.bench.path

mutation: $(ENV)  ## wrong versions of permits, access and pseudonyms: does a test notice each? (under an hour)
	.venv/bin/python -m tests.mutation

lock:  ## renew requirements.lock and requirements-spark.lock (needs uv)
	uv pip compile pyproject.toml --group dev --generate-hashes --no-emit-index-url --no-header --python-version 3.11 --quiet -o requirements.lock
	uv pip compile --group spark --generate-hashes --no-emit-index-url --no-header --python-version 3.11 --quiet -o requirements-spark.lock

clean:
	rm -rf .venv var .pytest_cache .mypy_cache .ruff_cache .hypothesis
