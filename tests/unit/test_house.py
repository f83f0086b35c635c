"""Who may import whom: the rooms of the package, and the directions between them."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "src" / "jacobian_ensembles"

#: Each room, and the rooms it may import beside itself. A module directly in the package is a room of its own.
MAY_IMPORT = {
    "seeding": "",
    "values": "",
    "settings": "values",
    "progress": "",
    "data": "seeding",
    "models": "data",
    "ensembles": "models",
    "evaluation": "data models ensembles",
    "training": "settings data models evaluation seeding",
    "attacks": "settings data models ensembles evaluation",
    "paper": "data ensembles evaluation",
    "storage": "evaluation",
    # what a run is: composed of the settings that the science defines, by the names of its registries; see LIGHT
    "experiment": "values settings data models ensembles training attacks",
    "report": "data paper evaluation",
    "stages": "attacks training ensembles models data evaluation paper report storage experiment seeding",
    "api": "training ensembles models data experiment",
    "crate": "paper data storage",
    "archive": "crate storage",
    "zoo": "stages ensembles models storage experiment",
    "shipping": "crate zoo stages paper ensembles data evaluation storage experiment",
    "joining": "crate zoo shipping ensembles data evaluation storage experiment",
    "cli_runs": "stages joining storage experiment",
    "cli_shipped": "crate archive experiment",
    "cli": "cli_runs cli_shipped values stages zoo joining evaluation storage experiment progress",
}
#: All that a run's configuration may import of the science: settings and names, none of which needs torch.
LIGHT = {
    "attacks.registry", "attacks.settings", "data.cards", "ensembles.methods", "models.names", "training.recipe",
    "training.objectives.registry",
}  # fmt: skip
MAY_IMPORT = {room: set(others.split()) for room, others in MAY_IMPORT.items()}


def room(module):
    return module.split(".")[0]


def imports(path):
    """The rooms that a file imports, with the line of each import."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("jacobian_ensembles."):
            yield room(node.module.removeprefix("jacobian_ensembles.")), node.lineno


def against(package):
    """Every import that goes against the table."""
    for path in sorted(package.rglob("*.py")):
        here = room(".".join(path.relative_to(package).with_suffix("").parts))
        if here == "__init__":
            continue
        for there, line in imports(path):
            if there != here and there not in MAY_IMPORT.get(here, set()):
                yield f"{path.relative_to(package)}:{line}: {here} imports {there}"


def test_imports_go_one_way():
    assert not list(against(PACKAGE))


def test_a_configuration_needs_nothing_heavy_of_the_science():
    science = {"attacks", "data", "ensembles", "models", "training"}
    for path in (PACKAGE / "experiment").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            module = (getattr(node, "module", None) or "").removeprefix("jacobian_ensembles.")
            assert room(module) not in science or module in LIGHT, f"{path.name}: {module}"


def test_the_table_has_every_room_and_no_circle():
    rooms = {p.stem for p in PACKAGE.glob("[a-z]*.py")} | {p.parent.name for p in PACKAGE.glob("*/__init__.py")}
    assert set(MAY_IMPORT) == rooms
    left = dict(MAY_IMPORT)
    while left:  # in every step some room must need none of those left
        free = {name for name, needs in left.items() if not needs & set(left)}
        assert free, f"a circle among {sorted(left)}"
        left = {name: needs for name, needs in left.items() if name not in free}


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("models/lenet.py", "from jacobian_ensembles.training.learner import train_learners"),
        ("attacks/sgd_uap.py", "from jacobian_ensembles.storage.files import read_json"),
        ("evaluation/accuracy.py", "def f():\n    from jacobian_ensembles.experiment.config import Config"),
        ("new_room/module.py", "from jacobian_ensembles.data.cards import CARDS"),
    ],
)
def test_an_import_against_the_direction_would_be_noticed(tmp_path, module, line):
    path = tmp_path / module
    path.parent.mkdir()
    path.write_text(line)
    assert len(list(against(tmp_path))) == 1


#: numba keeps compiled code until the one file of its entry point changes: what is compiled together stays together.
LONG = {"models/kernels.py"}


def test_no_file_is_longer_than_a_reader_can_take_in():
    lengths = {p.relative_to(PACKAGE).as_posix(): len(p.read_text().splitlines()) for p in PACKAGE.rglob("*.py")}
    assert {name for name, n in lengths.items() if n > 350} == LONG
