# make validate   set up what is missing and run the main job
# make test       lint, types, import rules, tests
# make test-long   tests that take more than a second of a core each; CI runs them too
# make test-slurm   a sweep on a Slurm cluster of its own (apt-get install slurm-wlm munge)
# make test-browser   the explorer in a browser without a window (apt-get install chromium chromium-driver)
# make test-adapters   the probe's callbacks in Hugging Face's trainer and in Lightning, which it installs
# make lab        JupyterLab with the notebooks, which open on a click (LAB="--ip 0.0.0.0" and the like)
# make notebooks  all notebooks run and kept with their outputs: docs/notebooks, three core-minutes
# make bench      benchmarks, one JSON object each
# make calibrate  lrbend fit on made sweeps, counted: docs/calibration, half an hour to an hour of a core
# make calibrate-recommend   lrbend recommend on held-out cells of made sweeps: docs/calibration, about five minutes
# make calibrate-losses  lrbend losses on public runs left out (LRBEND_PUBLIC_DATA): docs/calibration, a minute
# make calibrate-real   halves of public tables against each other (LRBEND_PUBLIC_DATA): docs/calibration, a minute
# make replay-study   angles of recorded runs under a fixed norm: docs/replay, hours, resumes
# make solvable-bend   the optimal learning rate in a solvable model: docs/solvable-bend, five minutes
# make same-angle   AdamW at equilibrium against AdamH on real text: docs/same-angle, 43 core-minutes, resumes
# make angle-law  a loss law of AdamH that knows when the angles come, and AdamW's optima by it: docs/angle-law, from its runs.csv
# make small-starts   AdamW's best rate from small starts, against a pilot and the laws: docs/small-starts, goes on
# make direction   why Adam's direction is shorter on real gradients than on noise: docs/direction, minutes, resumes
# make radial   how radial gradients of GPT-2 move the norm, small models and public runs: docs/radial, 8 core-minutes
# make held-out    the theories of networks at settings that were not in view: docs/held-out, 8 core-minutes, resumes
# make transient-length   the map of the norm's transient, measured beside predicted: docs/transient-length, 13 core-minutes
# make transient-domain   the same where memory and steps are short: docs/transient-domain, 37 core-minutes, resumes
# make moved-optimum   does the initial norm move AdamW's best learning rate: docs/moved-optimum, hours, goes on from its table
# make classic    the norm itself or the angle, in classic GPT-2, from two starts: docs/classic, hours, goes on from its table
# make classic-bend   best rates over widths of classic GPT-2, four arms: docs/classic-bend, hours, goes on from its table
# make schedule-exponent   does the schedule alone change how AdamH's best rate goes with length: docs/schedule-exponent, goes on
# make bend       does AdamW's best rate bend along parameters or tokens, in four arms: docs/bend, minutes of a GPU, goes on
# make one-calibration   AdamW's losses and best rates by the law of AdamH's runs: docs/one-calibration, a core-minute
# make rivals     does noise scale, sharpness or the output norm move with the optimum: docs/rivals, goes on from its table
# make public-tables   lrbend fit on public sweeps (LRBEND_PUBLIC_DATA): docs/public-tables, a core-minute
# make valley      Adam's direction at other settings from curvatures at one: docs/valley, minutes, resumes
# make fuzz         hostile commands, damaged files, kills, small disks: ten minutes (FUZZ="--tries 5000 --budget 9000")
# make attack      kills of all that writes, small disks, streams that nobody takes, 40,000 reads, 1,000 bits: an hour
# make mutate      planted bugs in theory that no test notices: 15 minutes, continued by the next (tests/mutation, MUTATE=...)
# make samples    small tables with planted laws to try the commands on: docs/samples
# make conversion   AdamW against AdamH under the converted schedule, real text: docs/conversion, goes on from its table
# make sim-grid   simulation against theory on 200 settings per optimizer: docs/sim, about ten minutes
# make inverse-norm   gradients like one over the norm, theory against simulation: docs/inverse-norm, five minutes
# make lock       hashes of the versions in constraints.txt: requirements, minutes
# make clean      the environment and caches; runs are kept

PYTHON ?= python3.11
BIN := .venv/bin
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check
HASHED := $(INSTALL) --require-hashes --no-deps --only-binary :all: --requirement
export OMP_NUM_THREADS ?= 1

.PHONY: setup validate test test-long test-slow test-slurm test-adapters lint lab bench replay-study calibrate calibrate-recommend calibrate-real calibrate-losses clean sim-grid solvable-bend same-angle direction radial valley mutate inverse-norm angle-law conversion held-out fuzz transient-length transient-domain moved-optimum classic classic-bend schedule-exponent samples test-browser lock attack notebooks one-calibration public-tables rivals small-starts bend
.DELETE_ON_ERROR:

setup: .venv/core
validate: .venv/core
	$(BIN)/lrbend validate

# Hundreds of processes start in it: bytecode is written, whatever the environment says.
test: export PYTHONDONTWRITEBYTECODE :=
test: lint
	$(BIN)/pytest -q -n 2 --dist worksteal -m "not long and not slow and not slurm and not browser"

test-long: export PYTHONDONTWRITEBYTECODE :=
test-long: .venv/dev
	$(BIN)/pytest -q -n 2 --dist worksteal -m "long and not slow"

test-slow: .venv/dev
	$(BIN)/pytest -q -m slow

test-slurm: .venv/dev
	$(BIN)/pytest -q -rs -m slurm

test-browser: .venv/browser
	$(BIN)/pytest -q -rs -s -m browser

test-adapters: .venv/adapters
	$(BIN)/pytest -q -rs tests/gpt/loops/test_adapters.py

# mypy gives its workers three seconds to start, which is not enough on a busy machine; alone it has nobody to wait for.
lint: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --num-workers 2 || $(BIN)/mypy
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
	$(BIN)/lrbend study angle-law --results docs/angle-law --option table=docs/angle-law/runs.csv

small-starts: .venv/core
	$(BIN)/lrbend study small-starts --results docs/small-starts --option earlier=docs/small-starts/runs.csv

direction: .venv/core
	$(BIN)/lrbend study direction --results docs/direction

radial: .venv/core
	$(BIN)/lrbend study radial-gradients --results docs/radial

held-out: .venv/core
	$(BIN)/lrbend study held-out-norms --results docs/held-out

transient-length: .venv/core
	$(BIN)/lrbend study transient-length --results docs/transient-length

transient-domain: .venv/core
	$(BIN)/lrbend study transient-domain --results docs/transient-domain

moved-optimum: .venv/core
	$(BIN)/lrbend study moved-optimum --results docs/moved-optimum --option earlier=docs/moved-optimum/runs.csv --option earlier-widths=docs/moved-optimum/width-runs.csv

classic: .venv/core
	$(BIN)/lrbend study classic --results docs/classic --option earlier=docs/classic/runs.csv

classic-bend: .venv/core
	$(BIN)/lrbend study classic-bend --results docs/classic-bend --option earlier=docs/classic-bend/runs.csv

schedule-exponent: .venv/core
	$(BIN)/lrbend study schedule-exponent --results docs/schedule-exponent --option earlier=docs/schedule-exponent/runs.csv

bend: .venv/core
	$(BIN)/lrbend study bend --results docs/bend --option earlier=docs/bend/runs.csv

one-calibration: .venv/core
	$(BIN)/lrbend study one-calibration --results docs/one-calibration

rivals: .venv/core
	$(BIN)/lrbend study rivals --results docs/rivals --option earlier=docs/rivals/runs.csv

public-tables: .venv/core
	$(BIN)/lrbend study public-tables --results docs/public-tables

valley: .venv/core
	$(BIN)/lrbend study valley --results docs/valley

mutate: .venv/dev
	$(BIN)/python -m tests.mutation $(MUTATE)
conversion: .venv/core
	$(BIN)/lrbend study conversion --results docs/conversion --option earlier=docs/conversion/losses.csv

fuzz: .venv/dev
	$(BIN)/python -m tests.attack.attack $(FUZZ)

attack: .venv/dev
	$(BIN)/pytest -q -rs -m slow tests/attack tests/experiments/sweeps tests/experiments/runs tests/gpt/test_checkpoint_contents.py

bench: .venv/dev
	for file in benchmarks/*.py; do $(BIN)/python $$file --json || exit 1; done

replay-study: .venv/core
	$(BIN)/lrbend study replay --results docs/replay

samples: .venv/core
	$(BIN)/python -m experiments.calibration.samples docs/samples

calibrate: .venv/core
	$(BIN)/lrbend calibrate fit --num-sweeps 120 --out docs/calibration

calibrate-recommend: .venv/core
	$(BIN)/lrbend calibrate recommend --num-sweeps 60 --out docs/calibration

calibrate-real: .venv/core
	$(BIN)/lrbend calibrate real --out docs/calibration

calibrate-losses: .venv/core
	$(BIN)/lrbend calibrate losses --out docs/calibration

# Everything by its hash but torch, which has other builds for other processors; nothing is built but this project.
.venv/core: pyproject.toml constraints.txt requirements/core.txt
	@echo "Setting up .venv (about two minutes, once)"
	$(PYTHON) -m venv .venv
	$(HASHED) requirements/core.txt
	$(INSTALL) --constraint constraints.txt torch
	$(INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

.venv/dev: .venv/core requirements/dev.txt
	$(HASHED) requirements/dev.txt
	@touch $@

.venv/browser: .venv/dev requirements/browser.txt
	$(HASHED) requirements/browser.txt
	@touch $@

.venv/adapters: .venv/dev requirements/adapters.txt
	$(HASHED) requirements/adapters.txt
	@touch $@

.venv/notebooks: .venv/core requirements/notebooks.txt
	$(HASHED) requirements/notebooks.txt
	@touch $@

# With this setting of JupyterLab a click on a .md file opens it as a notebook; it belongs to this environment alone.

lock: .venv/dev
	$(INSTALL) --constraint constraints.txt pip-tools
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python tests/lock.py
# With this setting of JupyterLab a click on a .md file opens it as a notebook; it belongs to this environment alone.
.venv/share/jupyter/lab/settings/overrides.json: .venv/notebooks
	mkdir -p $(@D)
	echo '{"@jupyterlab/docmanager-extension:plugin": {"defaultViewers": {"markdown": "Jupytext Notebook"}}}' > $@

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
