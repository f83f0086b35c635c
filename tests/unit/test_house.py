"""Who may import whom: the rooms of the package, and the directions between them."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "src" / "jacobian_ensembles"

#: Names and settings, without torch: any room may import them, and they import only each other.
NAMES = {
    "seeding", "config.values", "config.settings", "data.cards", "models.names", "ensembles.methods",
    "paper.markup", "attacks.registry", "training.recipe", "training.objectives.registry",
}  # fmt: skip
#: Each room, and the rooms it may import beside itself and NAMES.
MAY_IMPORT = {
    "extensions": "",
    "config": "extensions attacks",  # an attack defines its own options
    "data": "",
    "engine": "",
    "models": "data engine",
    "ensembles": "data models engine",
    "evaluation": "data models ensembles",
    "training": "data models ensembles extensions config",
    "attacks": "data models ensembles evaluation extensions engine",
    "paper": "evaluation",
    "robustness": "models ensembles attacks evaluation paper",
    "comparing": "evaluation paper",
    "report": "evaluation paper robustness extensions",
    "storage": "",
    # where a run's files lie, how a run is opened, what made it, what a job is given: what stages need of runs
    "runs.layout": "config",
    "runs.run": "config evaluation extensions paper storage runs.layout",
    "runs.provenance": "storage",
    "runs.devices": "",
    "stages": (
        "data models ensembles evaluation training attacks paper robustness comparing report storage config extensions "
        "runs.layout runs.run runs.provenance runs.devices"
    ),
    "runs": "data models ensembles evaluation paper storage config stages runs.layout runs.run runs.provenance",
    "cli": (
        "report data evaluation storage config extensions stages runs runs.run runs.layout runs.provenance runs.devices"
    ),
}
MAY_IMPORT = {room: set(others.split()) for room, others in MAY_IMPORT.items()}
KNOWN = NAMES | set(MAY_IMPORT)


def room(module):
    """The room of a module: the module itself where the table names it."""
    return module if module in KNOWN else module.split(".")[0]


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
            if there != here and there not in (MAY_IMPORT.get(here, set()) | NAMES if here in KNOWN else set()):
                yield f"{path.relative_to(package)}:{line}: {here} imports {there}"


def test_imports_go_one_way():
    assert not list(against(PACKAGE))


def test_the_table_has_every_room_and_no_circle():
    rooms = {p.stem for p in PACKAGE.glob("[a-z]*.py")} | {p.parent.name for p in PACKAGE.glob("*/__init__.py")}
    assert {name for name in MAY_IMPORT if "." not in name} == rooms - {"seeding"}
    left = dict(MAY_IMPORT)
    while left:  # in every step some room must need none of those left
        free = {name for name, needs in left.items() if not needs & set(left)}
        assert free, f"a circle among {sorted(left)}"
        left = {name: needs for name, needs in left.items() if name not in free}


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("models/lenet.py", "from jacobian_ensembles.training.learner import descend"),
        ("attacks/sgd_uap.py", "from jacobian_ensembles.storage.files import read_json"),
        ("evaluation/accuracy.py", "def f():\n    from jacobian_ensembles.config.schema import Config"),
        ("new_room/module.py", "from jacobian_ensembles.data.cards import CARDS"),
    ],
)
def test_an_import_against_the_direction_would_be_noticed(tmp_path, module, line):
    path = tmp_path / module
    path.parent.mkdir()
    path.write_text(line)
    assert len(list(against(tmp_path))) == 1


def test_the_engine_knows_no_torch():
    for path in (PACKAGE / "engine").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not [name for name in names if name.split(".")[0] == "torch"], path.name


def test_no_file_is_longer_than_a_reader_can_take_in():
    lengths = {p.relative_to(PACKAGE).as_posix(): len(p.read_text().splitlines()) for p in PACKAGE.rglob("*.py")}
    assert not {name: n for name, n in lengths.items() if n > 350}
