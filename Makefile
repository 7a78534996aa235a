# make demo and make test do all the set-up themselves: a virtual environment with hashed requirements.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed
# Some build machines forbid compiled modules; then every process that starts compiles pandas and its like again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help venv demo test lint bench lock docs fidelity kills captures accuracy month fleet incidents clean

help:
	@echo "make demo   analyze a real incident and draw its report (warmstall-out/report.html)"
	@echo "make test   everything that is tested"
	@echo "make venv   only the environment; $(BIN)/warmstall is the command"
	@echo "make lint   style, types and the direction of imports"
	@echo "make bench  ingest, verdicts, drills, retrieval, load, tracing and reports beside their peers, as ratios"

$(STAMP): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "warmstall needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>&1). Try: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
		{ rm -rf $(VENV); echo "python3 -m venv failed; on Debian: apt install python3-venv" >&2; exit 2; }
	@echo "installing into $(VENV) (once) ..."
	@if command -v uv >/dev/null 2>&1; then \
		uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock && \
		uv pip install --quiet --python $(BIN)/python --no-deps -e .; \
	else \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock && \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .; \
	fi
	@touch $@

venv: $(STAMP)

demo: $(STAMP)
	@$(BIN)/warmstall analyze data/incidents/warm-stall-runner-stopped --out warmstall-out

# More than the cores of a small machine: many tests wait for servers that start, stop and start again. What failed
# beside others is tried once more, alone: only a test that fails there as well is an error. Both runs name it.
WORKERS ?= 3
ABREAST = --numprocesses=$(WORKERS) --dist=loadfile --no-loadscope-reorder
test: $(STAMP)
	$(BIN)/python -m pytest $(ABREAST) --durations=25 || \
		$(BIN)/python -m pytest --last-failed --last-failed-no-failures=none
	$(BIN)/python -m pytest --nbval-lax --nbval-current-env --nbval-cell-timeout=120 $(ABREAST) \
		notebooks $(wildcard runbooks/*.ipynb)

lint: $(STAMP)
	$(BIN)/ruff check lib tests benchmarks data
	$(BIN)/ruff format --check lib tests benchmarks data
	$(BIN)/mypy
	$(BIN)/lint-imports

# The goals of docs/speed.md take MEGABYTES="1000 3000 10000" REQUESTS="1000000 10000000", and an hour or so. The page is
# then made by: python benchmarks/goals.py benchmarks/results.jsonl --markdown > docs/speed.md
MEGABYTES ?= 20
REQUESTS ?= 100000
RESULTS ?= benchmarks/results.jsonl
bench: $(STAMP)
	$(BIN)/python benchmarks/ingest.py --megabytes $(MEGABYTES) --results $(RESULTS)
	$(BIN)/python benchmarks/verdicts.py --requests $(REQUESTS) --results $(RESULTS)
	$(BIN)/python benchmarks/answer.py --results $(RESULTS)
	$(BIN)/python benchmarks/goals.py $(RESULTS)
	$(BIN)/python benchmarks/drill.py
	$(BIN)/python benchmarks/retrieval.py
	$(BIN)/python benchmarks/load.py
	$(BIN)/python benchmarks/tracing.py
	$(BIN)/python benchmarks/health_report.py

# The catalogues: of hypotheses, made of their docstrings, of drills, made of their scenarios and faults, of runbooks,
# made of their docstrings, notebooks and plans, and of experiments; and two pictures, if there is a browser.
docs: $(STAMP)
	$(BIN)/warmstall explain --markdown > docs/hypotheses.md
	$(BIN)/warmstall drill list --markdown > docs/drills.md
	$(BIN)/warmstall runbook list --markdown > docs/runbooks.md
	$(BIN)/python -m warmstall.reproduce.experiments.page > docs/experiments.md
	WARMSTALL_SCREENSHOTS=docs $(BIN)/python -m pytest tests/remediate/test_browser.py
	PYTHONPATH=tests $(BIN)/python -m drill.fidelity_page > docs/fidelity.md

# Every recorded scenario played again on a drill; needs the recordings beside this folder, and about fifteen minutes.
fidelity: $(STAMP)
	WARMSTALL_ALL_REPLAYS=1 $(BIN)/python -m pytest tests/drill/test_fidelity.py

# Every runbook killed after every line of its journal; about ten minutes on two cores.
kills: $(STAMP)
	WARMSTALL_ALL_KILLS=1 $(BIN)/python -m pytest tests/remediate -k "kill" --numprocesses=auto --dist=loadfile

# Every hypothesis on every capture; CAPTURES is the folder that holds corpus/ and real-ollama/.
CAPTURES ?= ../shared
captures: $(STAMP)
	$(BIN)/python -W ignore benchmarks/captures.py $(CAPTURES) > docs/captures.md

# Every scenario on every version, held against its own truth; RUNS keeps the runs. About twenty minutes on two cores.
RUNS ?=
accuracy: $(STAMP)
	$(BIN)/python -W ignore benchmarks/accuracy.py $(RUNS) > docs/accuracy.md

# Thirty days of hourly reports, every hour of them; about a quarter of an hour.
month: $(STAMP)
	WARMSTALL_WHOLE_MONTH=1 $(BIN)/python -m pytest tests/health/test_month.py

# What a fleet costs, measured, and 20,000 hosts on a real cluster; about ten minutes on two cores.
fleet: $(STAMP)
	$(BIN)/python benchmarks/fleet.py --write --results $(RESULTS)
	WARMSTALL_WHOLE_FLEET=1 $(BIN)/python -m pytest tests/fleet/test_cluster.py -k twenty_thousand

# Reconstructions of published incidents, written anew by their generators: the same bytes every time.
incidents: $(STAMP)
	cd data && ../$(BIN)/python -m generate

# The lock holds names, versions and hashes, and no addresses.
lock:
	uv pip compile --quiet --universal --python-version 3.11 --extra test --generate-hashes --no-header \
		--no-emit-index-url --no-annotate pyproject.toml -o requirements.lock

clean:
	rm -rf $(VENV) warmstall-out build dist
