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


def test_a_script_counts_by_what_it_imports(tmp_path):
    script = tmp_path / "s.py"
    script.write_text("import os\nwith x:\n    from jacobian_ensembles.theory import theorem_bounds\n")
    assert script_digest(script) == code_digest("theory")


def test_an_unknown_module_is_refused():
    with pytest.raises(ValueError, match="no module 'trainning'"):
        code_digest("trainning")


def test_every_module_is_read():
    for path in Path(source._PACKAGE).glob("[a-z]*.py"):
        assert len(code_digest(path.stem)) == 16
