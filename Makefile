# Two commands: `make quick` runs the small workflow to its figures, `make test` runs the tests.
# Each creates .venv and installs what is missing; a second call starts at once.

PYTHON ?= python3
# The exact versions of the reference runs, which CI tests; CONSTRAINTS= takes the newest that pyproject.toml allows.
CONSTRAINTS ?= constraints.txt
# Another build of torch, such as one for a GPU: TORCH="torch torchvision". Its versions are then not those of constraints.txt.
TORCH ?=
# snakemake options of `make quick`
SNAKEMAKE_ARGS ?= --cores all
# where everything is installed
VENV ?= .venv

BIN := $(VENV)/bin
READY := $(VENV)/.installed
# what checks a release: an environment of its own, since these tools want other versions of what they share with Snakemake
TOOLS := build/tools
PIP := -m pip --disable-pip-version-check --quiet
# torch, and what comes with it, by the names of constraints.txt
OF_TORCH := ^(torch|torchvision|triton|nvidia-[a-z0-9-]*|cuda-[a-z]*)==

.PHONY: quick test test-newest test-faults test-all lint format config docs rulegraph wheel archive article tools lock clean

# Snakemake keeps a cache at home, and stops where it cannot
ifneq ($(shell test -w "$(HOME)" && echo yes),yes)
export XDG_CACHE_HOME ?= $(CURDIR)/build/cache
endif

quick: $(READY)
	$(BIN)/snakemake $(SNAKEMAKE_ARGS) --configfile workflow/presets/quick.yaml
	@$(BIN)/jacobian-ensembles info results/quick

# On two cores that four processes share, torch's second thread mostly spins while it waits for the first: one example's
# 4 s of CPU become 48. The workflow's jobs set their own number.
test test-faults: export OMP_NUM_THREADS = 1

# two files at a time, those that run workflows first
test: $(READY)
	$(BIN)/pytest -m "not faults and not slurm" --numprocesses 2 --dist loadfile tests/workflow tests/unit

# everything at its newest, in an environment of its own: what a user without constraints.txt gets today
test-newest:
	rm -rf build/newest
	$(MAKE) test VENV=build/newest CONSTRAINTS=

# what does harm to running workflows, and what runs them on a private Slurm (docs/reliability.md): few, long tests
test-faults: $(READY)
	$(BIN)/pytest -m "faults or slurm" --numprocesses 2 --dist worksteal

test-all: test test-faults

# a cached verdict on imports does not see that a module has moved
lint: $(READY)
	$(BIN)/ruff check --no-cache .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/deptry src workflow/scripts
	$(BIN)/snakemake --lint

format: $(READY)
	$(BIN)/ruff check --no-cache --fix .
	$(BIN)/ruff format .
	$(BIN)/snakefmt Snakefile workflow

# The file *.installing is there until an environment that is made here is complete: what an interrupted installation left is
# made anew, an environment of yours is never cleared. A torch of one's own is installed first; its versions then bind nothing.
$(READY): pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else f"Python 3.11 or newer is needed, {sys.executable} is {v[0]}.{v[1]}: make PYTHON=...")'
	test ! -e $(VENV).installing && test -e $(VENV)/pyvenv.cfg && $(BIN)/python -m pip --version > /dev/null 2>&1 || \
	  { mkdir -p $(dir $(VENV)) && touch $(VENV).installing && $(PYTHON) -m venv $(if $(wildcard $(VENV).installing),--clear) $(VENV); } || \
	  { echo "$(VENV): no environment could be made; $(PYTHON) needs its modules venv and ensurepip. Debian: apt-get install python3-venv" >&2; exit 1; }
	$(if $(CONSTRAINTS),$(if $(TORCH),grep -Ev '$(OF_TORCH)',cat) $(CONSTRAINTS),:) > $(VENV)/constraints.txt
	$(if $(TORCH),$(BIN)/python $(PIP) install $(TORCH))
	$(BIN)/python $(PIP) install 'pip>=25.1'
	$(BIN)/python $(PIP) install --constraint $(VENV)/constraints.txt --group dev --editable '.[workflow,cluster]'
	touch $@ && rm -f $(VENV).installing

# uv.lock after a change of pyproject.toml, and constraints.txt from it; UPGRADE=--upgrade takes the newest of everything
lock: $(TOOLS)/.installed
	$(TOOLS)/bin/uv lock $(UPGRADE)
	{ sed '/^#/!d' constraints.txt; $(TOOLS)/bin/uv export --quiet --no-hashes --no-annotate --no-header --no-emit-project \
	  --all-extras --all-groups | sed "s/ ; python_full_version < '3.15' and .*//"; } > build/constraints.txt
	mv build/constraints.txt constraints.txt

tools: $(TOOLS)/.installed

$(TOOLS)/.installed:
	$(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/python $(PIP) install build==1.6.1 twine==7.0.0 cffconvert==2.0.0 uv==0.13.9
	touch $@

# config.yaml and the JSON schema of configurations, after a change of the classes that describe them; the page that quotes it
config: $(READY)
	$(BIN)/python -m jacobian_ensembles.config.description
	$(BIN)/python docs/fill.py

docs: $(READY)
	$(BIN)/python $(PIP) install --constraint $(VENV)/constraints.txt --group docs
	$(BIN)/python docs/prepare.py
	$(BIN)/zensical build --clean --strict --config-file .zensical.toml
	@echo "Documentation: build/site/index.html"

# the picture of the workflow, after a change of its rules; needs graphviz
rulegraph: $(READY)
	$(BIN)/snakemake --rulegraph --configfile workflow/presets/smoke.yaml 2> /dev/null > docs/images/rulegraph.dot
	dot -Tsvg docs/images/rulegraph.dot > docs/images/rulegraph.svg

# What a release holds: the wheel, built from the sdist, and both as an index wants them; CITATION.cff; the wheel in an
# environment that has the dependencies (this one's) but not this package.
wheel: $(READY) $(TOOLS)/.installed
	rm -rf build/lib build/bdist.* build/wheel dist
	$(TOOLS)/bin/python -m build --outdir dist . > build/build.log || { cat build/build.log; exit 1; }
	$(TOOLS)/bin/twine check --strict dist/*
	$(TOOLS)/bin/cffconvert --validate
	$(PYTHON) -m venv --clear build/wheel
	build/wheel/bin/python $(PIP) install --no-deps dist/*.whl
	$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > "$$(build/wheel/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/dependencies.pth"
	cd build/wheel && bin/jacobian-ensembles info

# a shipped run with its research object and the code at its commit: make archive RUN=table1 [COMMIT=HEAD]
archive: $(READY)
	$(if $(RUN),,$(error RUN=... names a shipped run, one of: $(notdir $(wildcard results/reference/*))))
	mkdir -p build
	$(BIN)/jacobian-ensembles archive results/reference/$(RUN) -o build/$(RUN).zip $(if $(COMMIT),--commit $(COMMIT))
	$(BIN)/jacobian-ensembles check build/$(RUN).zip

# a short article from shipped results: LaTeX, and a PDF where LaTeX is installed
article: $(READY)
	$(BIN)/python docs/article.py

clean:
	rm -rf .venv .cache .pytest_cache .ruff_cache .mypy_cache build dist
