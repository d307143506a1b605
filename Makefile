# make validate   set up what is missing and run the main job
# make test       lint, types, import rules, tests (what CI runs)
# make test-slurm   a sweep on a Slurm cluster of its own (apt-get install slurm-wlm munge)
# make test-adapters   the probe's callbacks in Hugging Face's trainer and in Lightning, which it installs
# make lab        JupyterLab with the notebooks, which open on a click (LAB="--ip 0.0.0.0" and the like)
# make notebooks  all notebooks run and kept with their outputs: docs/notebooks, three core-minutes
# make bench      benchmarks, one JSON object each
# make calibrate  lrbend fit on made sweeps, counted: docs/calibration, 45 minutes on one core
# make calibrate-recommend   lrbend recommend on held-out cells of made sweeps: docs/calibration, about five minutes
# make calibrate-losses  lrbend losses on public runs left out (LRBEND_PUBLIC_DATA): docs/calibration, a minute
# make calibrate-real   halves of public tables against each other (LRBEND_PUBLIC_DATA): docs/calibration, a minute
# make replay-study   angles of recorded runs under a fixed norm: docs/replay, hours, resumes
# make solvable-bend   the optimal learning rate in a solvable model: docs/solvable-bend, five minutes
# make same-angle   AdamW at equilibrium against AdamH on real text: docs/same-angle, 43 core-minutes, resumes
# make angle-law  a loss law of AdamH that knows when the angles come, and AdamW's optima by it: docs/angle-law, resumes
# make direction   why Adam's direction is shorter on real gradients than on noise: docs/direction, minutes, resumes
# make radial   how radial gradients of GPT-2 move the norm, small models and public runs: docs/radial, 8 core-minutes
# make held-out    the theories of networks at settings that were not in view: docs/held-out, 8 core-minutes, resumes
# make valley      Adam's direction at other settings from curvatures at one: docs/valley, minutes, resumes
# make fuzz         hostile commands, damaged files, kills, small disks: ten minutes (FUZZ="--tries 5000 --budget 9000")
# make mutate      planted bugs in theory that no test notices: a sample of 15 minutes, continued by the next (MUTATE=...)
# make conversion   AdamW against AdamH under the converted schedule, real text: docs/conversion, eight core-minutes
# make sim-grid   simulation against theory on 200 settings per optimizer: docs/sim, about ten minutes
# make inverse-norm   gradients like one over the norm, theory against simulation: docs/inverse-norm, five minutes
# make clean      the environment and caches; runs are kept

PYTHON ?= python3.11
BIN := .venv/bin
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt
export OMP_NUM_THREADS ?= 1

.PHONY: setup validate test test-slow test-slurm test-adapters lint lab notebooks bench replay-study calibrate calibrate-recommend calibrate-real calibrate-losses clean sim-grid solvable-bend same-angle direction radial valley mutate inverse-norm angle-law conversion held-out fuzz
.DELETE_ON_ERROR:

setup: .venv/core
validate: .venv/core
	$(BIN)/lrbend validate

test: lint
	$(BIN)/pytest -q -n 2 -m "not slow and not slurm"

test-slow: .venv/dev
	$(BIN)/pytest -q -m slow

test-slurm: .venv/dev
	$(BIN)/pytest -q -rs -m slurm

test-adapters: .venv/adapters
	$(BIN)/pytest -q -rs tests/gpt/loops/test_adapters.py

lint: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Jupyter refuses to run as root, as one is in a container, unless it is told to.
lab: .venv/share/jupyter/lab/settings/overrides.json
	$(BIN)/jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root) $(LAB) notebooks

notebooks: .venv/notebooks
	$(BIN)/python notebooks/render.py

solvable-bend: .venv/core
	$(BIN)/lrbend study solvable-bend --results docs/solvable-bend

sim-grid: .venv/core
	$(BIN)/lrbend study simulation-grid --results docs/sim

inverse-norm: .venv/core
	$(BIN)/lrbend study inverse-norm --results docs/inverse-norm

same-angle: .venv/core
	$(BIN)/lrbend study same-angle --results docs/same-angle

angle-law: .venv/core
	$(BIN)/lrbend study angle-law --results docs/angle-law

direction: .venv/core
	$(BIN)/lrbend study direction --results docs/direction

radial: .venv/core
	$(BIN)/lrbend study radial-gradients --results docs/radial

held-out: .venv/core
	$(BIN)/lrbend study held-out-norms --results docs/held-out

valley: .venv/core
	$(BIN)/lrbend study valley --results docs/valley

mutate: .venv/dev
	$(BIN)/python tests/mutate.py $(MUTATE)
conversion: .venv/core
	$(BIN)/lrbend study conversion --results docs/conversion

fuzz: .venv/dev
	$(BIN)/python -m tests.attack.attack $(FUZZ)

bench: .venv/dev
	for file in benchmarks/*.py; do $(BIN)/python $$file --json || exit 1; done

replay-study: .venv/core
	$(BIN)/lrbend study replay --results docs/replay

calibrate: .venv/core
	$(BIN)/lrbend calibrate fit --num-sweeps 120 --out docs/calibration

calibrate-recommend: .venv/core
	$(BIN)/lrbend calibrate recommend --num-sweeps 60 --out docs/calibration

calibrate-real: .venv/core
	$(BIN)/lrbend calibrate real --out docs/calibration

calibrate-losses: .venv/core
	$(BIN)/lrbend calibrate losses --out docs/calibration

.venv/core: pyproject.toml constraints.txt
	@echo "Setting up .venv (about two minutes, once)"
	$(PYTHON) -m venv .venv
	$(INSTALL) --editable .
	@touch $@

.venv/dev: .venv/core
	$(INSTALL) --editable '.[dev]'
	@touch $@

.venv/adapters: .venv/dev
	$(INSTALL) --editable '.[adapters]'
	@touch $@

.venv/notebooks: .venv/core
	$(INSTALL) --editable '.[notebooks]'
	@touch $@

# With this setting of JupyterLab a click on a .md file opens it as a notebook; it belongs to this environment alone.
.venv/share/jupyter/lab/settings/overrides.json: .venv/notebooks
	mkdir -p $(@D)
	echo '{"@jupyterlab/docmanager-extension:plugin": {"defaultViewers": {"markdown": "Jupytext Notebook"}}}' > $@

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
