import ast
import shutil
from pathlib import Path

import pytest

from jacobian_ensembles import source
from jacobian_ensembles.source import code_digest, modules_behind, script_digest


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A copy of the package that may be edited; ``edit`` replaces text in a module."""
    folder = tmp_path / "jacobian_ensembles"
    shutil.copytree(source._PACKAGE, folder)
    monkeypatch.setattr(source, "_PACKAGE", folder)

    def edit(module, old, new):
        path = folder / f"{module}.py"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))
        source._read.cache_clear()

    source._read.cache_clear()
    yield edit
    source._read.cache_clear()


def test_a_change_counts_for_all_that_import_it_and_for_nothing_else(package):
    before = {m: code_digest(m) for m in ("training", "uap", "figures", "checkpoints")}
    package("jacobian", "F.normalize(", "1.0 * F.normalize(")
    after = {m: code_digest(m) for m in before}
    assert {m for m in before if before[m] != after[m]} == {"training"}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("import numpy as np\n", "# a comment\nimport numpy as np\n\n\n"),
        ("The Wilson score interval", "Wilson's score interval"),
        ("max(0.0, centre - half)", "max(\n        0.0, centre - half\n    )"),
    ],
)
def test_comments_docstrings_and_formatting_do_not_count(package, old, new):
    before = code_digest("metrics")
    package("metrics", old, new)
    assert code_digest("metrics") == before


def test_the_configuration_module_does_not_count(package):
    before = code_digest("training")
    package("config", "epochs: PositiveInt = 8", "epochs: PositiveInt = 9")
    assert code_digest("training") == before


def test_drawing_and_training_do_not_depend_on_each_other():
    assert not {"figures", "tables", "metrics", "uap"} & set(modules_behind("training"))
    assert not {"training", "models", "uap"} & set(modules_behind("figures"))
    assert {"jacobian", "models", "data", "seeding", "training"} <= set(modules_behind("training"))


def test_a_script_counts_by_what_it_imports(tmp_path, package):
    script = tmp_path / "s.py"
    script.write_text("import os\nwith x:\n    from jacobian_ensembles.theory import theorem_bounds\n")
    before = script_digest(script)
    script.write_text("# a comment\n" + script.read_text())
    assert script_digest(script) == before
    package("theory", "sigma**2 *", "sigma * sigma *")
    assert script_digest(script) != before


def test_a_script_counts_by_what_it_does_itself(tmp_path):
    script = tmp_path / "s.py"
    digests = []
    for call in ("f(1)", "f(2)"):
        script.write_text(f"from jacobian_ensembles.theory import f\n{call}\n")
        digests.append(script_digest(script))
    assert digests[0] != digests[1]


def test_an_unknown_module_is_refused():
    with pytest.raises(ValueError, match="no module 'trainning'"):
        code_digest("trainning")


def test_every_module_is_read():
    for path in Path(source._PACKAGE).glob("[a-z]*.py"):
        assert len(code_digest(path.stem)) == 16


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A package of four modules: top imports middle inside a function, middle imports base and config."""
    folder = tmp_path / "jacobian_ensembles"
    folder.mkdir()
    monkeypatch.setattr(source, "_PACKAGE", folder)
    texts = {
        "base": 'def f(x=1):\n    """What."""\n    return x + 1\n',
        "middle": "from jacobian_ensembles.base import f\nfrom jacobian_ensembles.config import C\n",
        "top": "def g():\n    from jacobian_ensembles.middle import f\n    return f\n",
        "config": "C = 1\n",
    }

    def digest(module="top", **changes):
        for name, text in {**texts, **changes}.items():
            (folder / f"{name}.py").write_text(text)
        source._read.cache_clear()
        return code_digest(module)

    yield digest
    source._read.cache_clear()


@pytest.mark.parametrize(
    "base",
    [
        "def f(x=1):\n    return x + 1\n",
        "# new\ndef f(\n    x=1,\n):\n    return (x + 1)  # sum\n",
        '"""A module."""\n\n\ndef f(x=1):\n    """Another."""\n    return x + 1\n',
    ],
)
def test_only_what_code_does_counts_however_far_below(tiny, base):
    assert tiny(base=base) == tiny()


@pytest.mark.parametrize(
    "base",
    [
        "def f(x=2):\n    return x + 1\n",
        "def f(x=1):\n    return x - 1\n",
        "def f(x=1):\n    return x + 1.0\n",
        "A = 0\n\n\ndef f(x=1):\n    return x + 1\n",
        'def f(x=1):\n    y = """What."""\n    return x + 1\n',
    ],
)
def test_any_change_of_code_counts_however_far_below(tiny, base):
    assert tiny(base=base) != tiny()


def test_configuration_is_not_followed(tiny):
    assert tiny(config="from jacobian_ensembles.nowhere import x\n") == tiny()


def test_every_import_of_the_package_has_the_one_form_that_digests_follow():
    root = Path(__file__).resolve().parents[2]
    for path in [*(root / "src").rglob("*.py"), *(root / "workflow" / "scripts").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0, path
                # its map of public names to modules, by which it follows imports itself
                assert node.module != "jacobian_ensembles" or path.name == "source.py", path
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names if alias.name.startswith("jacobian_ensembles")]
                # provenance reads __version__, which is no science
                assert not names or (path.name, names) == ("provenance.py", ["jacobian_ensembles"]), path
