"""The installed wheel, in an environment and a folder that have nothing of this repository."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig

import pytest
from test_elsewhere import link_data

from conftest import ROOT

pytestmark = pytest.mark.workflow

ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def pip(python, *arguments):
    command = [python, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    subprocess.run(command, env=ENVIRONMENT, check=True)


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The Python of an environment that has the wheel, and of this one its dependencies only."""
    folder = tmp_path_factory.mktemp("installed")
    source = folder / "source"  # building leaves files
    shutil.copytree(ROOT / "src", source / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "results" / "reference" / "table1", source / "results" / "reference" / "table1")
    pip(sys.executable, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, source)
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    python = folder / "venv" / "bin" / "python"
    pip(python, "install", "--no-deps", *folder.glob("*.whl"))
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = subprocess.check_output([python, "-c", ask], text=True).strip()
    # a folder that a .pth file names is searched, but its own .pth files, as of an editable installation, are not read
    with open(f"{packages}/dependencies.pth", "w", encoding="utf-8") as file:
        file.write(sysconfig.get_path("purelib"))
    return python


def numbers(text):
    return [float(number.replace(",", "")) for number in re.findall(r"\d[\d,.]*\d|\d", text)]


def test_the_readmes_snippet_runs_without_a_checkout_and_prints_what_it_shows(installed, smoke, tmp_path):
    link_data(smoke, tmp_path / "results")
    snippet, shown = re.search(
        r"```python\n(import jacobian_ensembles.*?)```\n\n```text\n(.*?)```",
        (ROOT / "README.md").read_text(),
        re.DOTALL,
    ).groups()
    script = f"{snippet}\nprint(je.__file__)"
    done = subprocess.run(
        [installed, "-c", script], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    *printed, file = done.stdout.splitlines(keepends=True)
    assert file.startswith(str(installed.parents[1]))
    printed = "".join(printed)
    assert re.sub(r"\d", "0", printed) == re.sub(r"\d", "0", shown)
    assert numbers(printed) == pytest.approx(numbers(shown), abs=0.2)  # processors differ in the last bit
    assert (tmp_path / "uap.png").stat().st_size > 200


def test_trained_models_come_with_the_wheel(installed, tmp_path):
    script = """
import jacobian_ensembles as je
names = je.shipped_models()
name = "table1/mnist/snapshot/M3/lambda0.50"
print(len(names), name in names, len(je.load_ensemble(name, members=3).members))
print(je.load_correct(name, eps=0.15).shape, tuple(je.load_perturbation(name).shape))
"""
    command = [installed, "-c", script]
    done = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["12 True 3", "(10000,) (4, 1, 28, 28)"]


@pytest.mark.parametrize("scheme", ["--target", "--prefix"])  # the latter as --user does, which environments refuse
def test_trained_models_are_found_wherever_pip_puts_them(installed, tmp_path, scheme):
    (wheel,) = installed.parents[2].glob("*.whl")
    pip(sys.executable, "install", "--no-deps", "--ignore-installed", scheme, tmp_path, wheel)
    (package,) = tmp_path.rglob("jacobian_ensembles/runs/zoo.py")
    script = "import jacobian_ensembles as je; print(len(je.shipped_models()), je.__file__)"
    environment = {**ENVIRONMENT, "PYTHONPATH": str(package.parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["12", str(package.parents[1] / "__init__.py")]
