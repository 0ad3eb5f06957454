# Everything that a contributor or CI runs. `make help` lists it. Targets that need the environment make it first.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.PHONY: help setup demo check types-and-pages quick-tests chart test kafka-test cluster-test test-no-engine lowest \
	vllm-versions lock-check docs session mutants bench report gpu-check images clean distclean

# Python keeps what it compiles, whatever the environment says: tests start hundreds of processes, and pytest's own
# compile every test.
unexport PYTHONDONTWRITEBYTECODE

BIN := .venv/bin
STAMP := .venv/.stamp
# Most tests wait for servers, so more of them run side by side than there are cores; a file's tests stay together.
# pytest-xdist begins with the files of most tests, which keeps those that load a model apart.
SIDE_BY_SIDE := -n 3 --dist loadfile
# What says which tests run on their own, without a server or a model. Those of tests/typing are mypy's.
QUICK_TESTS := $(wildcard tests/unit tests/packaging tests/golden)

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## Make .venv with everything but GPU packages; does nothing when nothing changed
	@:

$(STAMP): pyproject.toml requirements/worker-cpu.lock Makefile scripts/setup.sh
	@PYTHON="$(PYTHON)" scripts/setup.sh

demo: $(STAMP) ## Run real prompts through the embedded stack and show the answers
	@scripts/demo.sh

check: $(STAMP) ## Lint, types, layers, generated pages, quick tests: under 90 s
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(MAKE) --jobs=2 types-and-pages quick-tests

types-and-pages: $(STAMP)
	@$(BIN)/lint-imports
	@$(BIN)/python scripts/docs.py --check
	@$(BIN)/python scripts/chart_values.py --check
	@$(BIN)/python load-tests/report.py --check
	@$(BIN)/mypy
	@$(BIN)/pytest -q tests/typing

quick-tests: $(STAMP)
	@$(BIN)/pytest -q -n 3 --dist loadfile -m "not install" --hypothesis-profile=quick $(QUICK_TESTS)

chart: $(STAMP) ## Judge the Helm chart: renders, schemas, refusals, policies, alerts, each with a count: under 3.5 minutes
	@$(BIN)/pytest -q tests/chart

test: $(STAMP) ## The whole suite, real brokers, object store and model included: under 17 minutes
	@$(BIN)/pytest $(SIDE_BY_SIDE)

kafka-test: $(STAMP) ## Apache Kafka as users run it, on three brokers and with security: under 9 minutes
	@$(BIN)/pytest -n 2 --dist loadfile tests/kafka

cluster-test: $(STAMP) ## On a real Kubernetes, as root: under 15 minutes; FULL=1 all of it; CLUSTER=kubeconfig on yours
	@$(BIN)/pytest tests/cluster

test-no-engine: ## Unit, contract and fault tests without vLLM, on whichever Python PYTHON names
	@PYTHON="$(PYTHON)" scripts/no_engine.sh highest $(SIDE_BY_SIDE)

lowest: ## The same on the lowest versions that pyproject.toml admits, on Python 3.11
	@PYTHON="$(PYTHON)" scripts/no_engine.sh lowest $(SIDE_BY_SIDE)

docs: $(STAMP) ## Write the generated pages under docs/, and the chart's schema and README
	@$(BIN)/python scripts/docs.py
	@$(BIN)/python scripts/chart_values.py

session: $(STAMP) ## Record docs/cli-session.cast: the command line in a real shell, beside a stack of its own
	@$(BIN)/python scripts/record_cli.py

bench: $(STAMP) ## Measure all scenarios and write docs/benchmarks.md: under 75 minutes; QUICK=1 under 10, to out/bench
	@$(BIN)/python load-tests/bench.py $(if $(QUICK),--quick --folder out/bench)

report: $(STAMP) ## Write docs/benchmarks.md, its plots and the README's figures from the saved runs
	@$(BIN)/python load-tests/report.py

mutants: $(STAMP) ## Change the pure core, expression by expression, and name what no unit test notices; MODULE="marks …"
	@$(BIN)/python scripts/mutants.py $(MODULE)

gpu-check: $(STAMP) ## Engine tests, overhead and prefix on a GPU, skipped where none is; CPU=1 runs them on a CPU
	@$(BIN)/python load-tests/gpu_check.py $(if $(CPU),--cpu) $(if $(QUICK),--quick)

lock-check: $(STAMP) ## Ask whether every package has a wheel, for both architectures and each Python; WITHOUT="torch …"
	@$(BIN)/python scripts/check_lock.py $(WITHOUT:%=--without %)

vllm-versions: $(STAMP) ## Engine tests on each supported vLLM, for docs/vllm.md: under 30 minutes; NEWEST=1 some on the newest
	@$(BIN)/python scripts/vllm_versions.py $(if $(NEWEST),--newest)

images: ## Build the images of docker/ with docker, podman or buildah; PARTS="gateway …" REGISTRY=… TAG=…
	@scripts/images.sh $(PARTS)

clean: ## Stop the embedded stack and remove what it, builds and tests left; keep .venv
	@if [[ -d .backburner && -x $(BIN)/backburner ]]; then $(BIN)/backburner down || true; fi
	@rm -rf .backburner .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage build dist out
	@find . -path ./.venv -prune -o -name __pycache__ -type d -print0 | xargs -0 rm -rf

distclean: clean ## The same, and .venv
	@rm -rf .venv
