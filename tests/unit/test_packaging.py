import ast
import json
import platform
import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version
from setuptools import find_packages

import jacobian_ensembles

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "jacobian_ensembles"
CONDA_NAMES = {"matplotlib": "matplotlib-base", "torch": "pytorch", "snakemake": "snakemake-minimal"}


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_environment_yml_is_pin_for_pin_pyproject(project):
    expected = {f"python{project['requires-python']}"}
    for requirement in project["dependencies"] + project["optional-dependencies"]["workflow"]:
        name, pin = re.fullmatch(r"([a-z0-9]+)(.*)", requirement).groups()
        expected.add(CONDA_NAMES.get(name, name) + pin)
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert set(environment["dependencies"]) == expected


def test_the_snakefile_wants_the_oldest_snakemake_that_is_allowed(project):
    (oldest,) = re.findall(r'^min_version\("(.*)"\)', (ROOT / "Snakefile").read_text(), re.MULTILINE)
    assert project["optional-dependencies"]["workflow"] == [f"snakemake>={oldest},<10"]


def test_what_is_installed_here_satisfies_environment_yml():
    # the conda channels are out of CI's reach: that the pins can hold together is shown by PyPI's packages instead
    pypi_names = {conda: pypi for pypi, conda in CONDA_NAMES.items()}
    for dependency in yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]:
        name, pin = re.fullmatch(r"([a-z0-9-]+)(.*)", dependency).groups()
        found = platform.python_version() if name == "python" else version(pypi_names.get(name, name))
        assert Version(found.partition("+")[0]) in SpecifierSet(pin), dependency


def exact_versions():
    """What constraints.txt binds, here or elsewhere: (normalised name, version, whether here)."""
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if not line.startswith("#"):
            found = Requirement(line)
            ((operator, version),) = ((s.operator, s.version) for s in found.specifier)
            assert operator == "=="
            yield canonicalize_name(found.name), Version(version), not found.marker or found.marker.evaluate()


@pytest.fixture(scope="module")
def constraints():
    """The exact version of every package, by its normalised name."""
    return {name: version for name, version, here in exact_versions() if here}


def test_constraints_are_exact_and_allowed_by_pyproject(constraints):
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())
    lists = [declared["project"]["optional-dependencies"], declared["dependency-groups"]]
    wanted = [*declared["project"]["dependencies"], *(r for kind in lists for extra in kind.values() for r in extra)]
    for requirement in map(Requirement, wanted):
        assert requirement.specifier.contains(constraints[canonicalize_name(requirement.name)]), requirement


def test_constraints_and_uvs_lock_agree_and_the_lock_has_hashes_of_pypis_files():
    public = pytest.importorskip("pip._internal.models.index")  # what pip calls the public index: no mirror is locked
    lock = tomllib.loads((ROOT / "uv.lock").read_text())
    packages = [package for package in lock["package"] if package["name"] != "jacobian-ensembles"]
    locked = {(package["name"], Version(package["version"])) for package in packages}
    assert {(name, version) for name, version, _ in exact_versions()} == locked
    for package in packages:
        assert package["source"] == {"registry": public.PyPI.simple_url}
        files = [*package.get("wheels", []), *filter(None, [package.get("sdist")])]
        assert files
        assert all(file["url"].startswith(f"https://{public.PyPI.file_storage_domain}/") for file in files)
        assert all(file["hash"].startswith("sha256:") for file in files)


def test_constraints_are_the_versions_that_made_the_reference_runs(constraints):
    records = [json.loads(path.read_text()) for path in ROOT.glob("results/reference/*/provenance.json")]
    assert records
    for package in ("torch", "torchvision", "numpy", "pandas", "seaborn"):
        found = {version for record in records for version in record[package]} - {"None"}  # drawn where it was missing
        assert found == {str(constraints[package])}, package


def test_a_torch_of_ones_own_is_bound_by_no_constraint(constraints):
    (pattern,) = re.findall(r"^OF_TORCH := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    of_torch = {name for name in constraints if re.match(pattern, f"{name}==")}
    assert {"torch", "torchvision"} <= of_torch
    assert not any(name.startswith(("nvidia", "cuda", "triton")) for name in set(constraints) - of_torch)


def left_out(folder, declared):
    """The files below a package's folder that a wheel would not hold."""
    found = {folder / name.replace(".", "/") for name in find_packages(str(folder))}
    files = [p for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts and ".egg-info" not in str(p)]
    data = {folder / name / pattern for name, patterns in declared.items() for pattern in patterns}
    return sorted(
        str(p.relative_to(folder)) for p in files if p not in data and (p.suffix != ".py" or p.parent not in found)
    )


def test_the_wheel_holds_every_module_and_data_file(tmp_path):
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    assert left_out(ROOT / "src", declared) == []
    # a room without its __init__.py, or a file that nobody declared, would be noticed
    (tmp_path / "jacobian_ensembles" / "room").mkdir(parents=True)
    for name in ("__init__.py", "room/module.py", "table.csv"):
        (tmp_path / "jacobian_ensembles" / name).touch()
    assert left_out(tmp_path, declared) == ["jacobian_ensembles/room/module.py", "jacobian_ensembles/table.csv"]


def test_the_version_is_the_same_everywhere(project):
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert project["version"] == jacobian_ensembles.__version__ == citation["version"]


def test_citation_cff_is_valid():
    tool = ROOT / "build" / "tools" / "bin" / "cffconvert"
    if not tool.is_file():
        pytest.skip("no cffconvert (make tools)")
    done = subprocess.run([tool, "--validate"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_formatters_are_pinned_alike_for_pre_commit_and_ci():
    text = (ROOT / ".pre-commit-config.yaml").read_text()
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    pins = {p for p in groups["dev"] if "==" in p}
    assert pins == set(re.findall(r"\[(.*?==.*?)\]", text))


def test_the_science_never_touches_snakemake():
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            named = [alias.name for alias in getattr(node, "names", []) if isinstance(alias, ast.alias)]
            named += [getattr(node, key, None) for key in ("id", "attr", "module")]
            assert not any("snakemake" in str(name).lower() for name in named), path.name


@pytest.mark.parametrize(
    ("modules", "absent"),
    [
        (
            "config.schema runs.layout seeding extensions.code_digest runs.devices storage.files "
            "attacks.staged attacks.square training.objectives.universal training.objectives.decorrelated "
            "training.objectives.adversarial training.objectives.noise training.objectives.input_gradient",
            ("torch", "pandas", "matplotlib"),
        ),
        (
            "storage.learners storage.perturbations runs.provenance data.splits evaluation.theorem",
            ("torch", "pandas", "matplotlib", "pydantic"),
        ),
        ("stages.select_worst_uap stages.assemble_ensemble", ("torch", "pandas", "scipy", "pydantic")),
        ("evaluation.summary storage.tables paper.table1 paper.claims", ("torch", "matplotlib", "pydantic")),
        ("paper.figures", ("torch", "pydantic")),
        ("training.learner attacks.ascent", ("pandas", "matplotlib", "torchvision")),
    ],
)
def test_modules_import_no_more_than_they_need(modules, absent):
    code = f"import sys\nfor m in {modules.split()}: __import__('jacobian_ensembles.' + m)\n"
    code += f"print([m for m in {list(absent)} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_reading_the_workflow_imports_no_torch():
    """Snakemake reads all rules at every start, for a dry run too: with torch that takes twice as long."""
    rules = [ROOT / "Snakefile", *(ROOT / "workflow" / "rules").glob("*.smk")]
    text = "\n".join(path.read_text() for path in rules)
    found = set(re.findall(r"from jacobian_ensembles\.([\w.]+) import", text))
    assert "robustness.toolbox" in found
    test_modules_import_no_more_than_they_need(" ".join(sorted(found)), ("torch", "matplotlib", "numba"))


def third_party_imports(folder):
    names = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names.add(node.module.partition(".")[0])
    return {name for name in names - set(sys.stdlib_module_names) if not (folder / f"{name}.py").exists()}


@pytest.mark.parametrize("folder", ["src", "workflow/scripts"])
def test_what_runs_imports_nothing_undeclared(project, folder):
    declared = {re.match(r"[a-z0-9]+", requirement)[0] for requirement in project["dependencies"]}
    brought = {"art"}  # by the extra stress, and missed by nothing but rows of one table
    assert third_party_imports(ROOT / folder) - {"jacobian_ensembles", "yaml", "PIL"} <= declared | brought
