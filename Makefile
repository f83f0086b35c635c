# Two commands: `make quick` runs the small workflow to its figures, `make test` runs the tests.
# Each creates .venv and installs what is missing; a second call starts at once.

PYTHON ?= python3
# The pair that CI tests. With a GPU, name the build you want, e.g. TORCH="torch torchvision".
TORCH ?= torch==2.14.1 torchvision==0.29.1
# snakemake options of `make quick`
SNAKEMAKE_ARGS ?= --cores all

BIN := .venv/bin
READY := .venv/.installed

.PHONY: quick test test-faults test-all lint format docs rulegraph wheel clean

quick: $(READY)
	$(BIN)/snakemake $(SNAKEMAKE_ARGS) --configfile workflow/presets/quick.yaml
	@echo "Figures: results/quick/figures/   Table 1: results/quick/tables/table1.md"

# two files at a time, those that run workflows first
test: $(READY)
	$(BIN)/pytest -m "not faults and not slurm" --numprocesses 2 --dist loadfile tests/workflow tests/unit

# what does harm to running workflows, and what runs them on a private Slurm (docs/reliability.md): few, long tests
test-faults: $(READY)
	$(BIN)/pytest -m "faults or slurm" --numprocesses 2 --dist worksteal

test-all: test test-faults

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/snakemake --lint

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/snakefmt Snakefile workflow

# touched last, so that an interrupted installation is taken up again
$(READY): pyproject.toml
	$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else f"Python 3.11 or newer is needed, {sys.executable} is {v[0]}.{v[1]}: make PYTHON=...")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(TORCH)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[workflow,cluster,dev]'
	touch $@

docs: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet --config-file .mkdocs.yml --site-dir build/site
	@echo "Documentation: build/site/index.html"

# the picture of the workflow, after a change of its rules; needs graphviz
rulegraph: $(READY)
	$(BIN)/snakemake --rulegraph --configfile workflow/presets/smoke.yaml 2> /dev/null > docs/images/rulegraph.dot
	dot -Tsvg docs/images/rulegraph.dot > docs/images/rulegraph.svg

# the wheel, in an environment that has the dependencies (this one's) but not this package
wheel: $(READY)
	rm -rf build dist
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .
	$(PYTHON) -m venv --clear build/wheel
	build/wheel/bin/python -m pip install --quiet --disable-pip-version-check --no-deps dist/*.whl
	$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > "$$(build/wheel/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/dependencies.pth"
	cd build/wheel && bin/jacobian-ensembles info

clean:
	rm -rf .venv .pytest_cache .ruff_cache .mypy_cache build dist
