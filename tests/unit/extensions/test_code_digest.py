import ast
import shutil
from pathlib import Path

import pytest

from jacobian_ensembles.attacks.registry import ATTACKS
from jacobian_ensembles.extensions import code_digest as source
from jacobian_ensembles.extensions.code_digest import (
    adapter_digest,
    code_digest,
    extension_digest,
    modules_behind,
    project_digests,
    script_digest,
    source_digest,
)
from jacobian_ensembles.models.names import ARCHITECTURES
from jacobian_ensembles.paper.catalogue import FIGURES, TABLES
from jacobian_ensembles.training.objectives.registry import OBJECTIVES

SCRIPTS = Path(__file__).resolve().parents[3] / "workflow/scripts"
#: Modules whose edits reach no result of a run: what describes settings, which jobs are given by value; what says where
#: built-in code lies; what packs and joins shipped runs; and what only the library and the command line use.
NO_RESULT = {
    "cli", "config.schema", "config.grid", "config.settings", "config.training", "config.sections", "config.variants",
    "config.reading", "config.description", "attacks.registry", "training.objectives.registry", "training.recipe",
    "paper.catalogue", "runs.archive", "runs.arrays", "runs.convert", "runs.draw", "runs.hold", "runs.join", "runs.zoo",
    "attacks.crafting", "comparing.decorrelation", "evaluation.record", "extensions.failures",
    "report.model", "robustness.stress", "runs.explain", "stages.checking", "stages.obtaining", "stages.report_model",
    "storage.exchange", "training.ensembles",
}  # fmt: skip


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A copy of the package that may be edited; ``edit`` replaces text in a module."""
    folder = tmp_path / "jacobian_ensembles"
    shutil.copytree(source._PACKAGE, folder)
    monkeypatch.setattr(source, "_PACKAGE", folder)

    def edit(module, old, new):
        path = folder / f"{module.replace('.', '/')}.py"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))
        source._read.cache_clear()

    source._read.cache_clear()
    yield edit
    source._read.cache_clear()


def test_a_change_counts_for_all_that_import_it_and_for_nothing_else(package):
    before = {m: code_digest(m) for m in ("training.learner", "attacks.sgd_uap", "paper.figures", "storage.learners")}
    package("models.jacobian", "F.normalize(", "1.0 * F.normalize(")
    after = {m: code_digest(m) for m in before}
    assert {m for m in before if before[m] != after[m]} == {"training.learner"}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("import numpy as np\n", "# a comment\nimport numpy as np\n\n\n"),
        ("The Wilson score interval", "Wilson's score interval"),
        ("max(0.0, centre - half)", "max(\n        0.0, centre - half\n    )"),
    ],
)
def test_comments_docstrings_and_formatting_do_not_count(package, old, new):
    before = code_digest("evaluation.statistics")
    package("evaluation.statistics", old, new)
    assert code_digest("evaluation.statistics") == before


def test_settings_do_not_count_as_code(package):
    before = code_digest("training.learner")
    package("training.recipe", "epochs: PositiveInt = 8", "epochs: PositiveInt = 9")
    assert code_digest("training.learner") == before


def test_a_built_in_attack_counts_with_its_plan_and_not_with_its_descriptions(package):
    before = {name: extension_digest(name) for name in ("sgd", "staged", "square")}
    package("attacks.staged", "budget: PositiveInt = 50", 'budget: PositiveInt = Field(50, description="The cost.")')
    described = extension_digest("staged")
    package("attacks.staged", 'description="The cost."', 'description="What it costs."')
    assert extension_digest("staged") == described
    package("attacks.staged", "(1 - r / (self.rounds - 1))", "(1 - r / self.rounds)")
    assert extension_digest("staged") not in (described, before["staged"])
    assert {name: extension_digest(name) for name in ("sgd", "square")} == {n: before[n] for n in ("sgd", "square")}


def test_code_that_names_an_attack_may_lead_to_any_but_crafting_in_a_run_only_to_its_own(package):
    assert {"attacks.ascent", "attacks.staged", "attacks.square"} <= set(modules_behind("attacks.crafting"))
    assert not {"attacks.ascent", "attacks.staged", "attacks.square"} & set(modules_behind("stages.craft_uaps"))


def test_drawing_and_training_do_not_depend_on_each_other():
    assert not {"paper.figures", "paper.table1", "evaluation.summary", "attacks.sgd_uap"} & set(
        modules_behind("training.learner")
    )
    assert not {"training.learner", "models.building", "attacks.sgd_uap"} & set(modules_behind("paper.figures"))
    assert {"models.jacobian", "models.building", "training.objectives.derivatives", "seeding"} <= set(
        modules_behind("training.learner")
    )


def test_a_script_counts_by_what_it_imports(tmp_path, package):
    script = tmp_path / "s.py"
    script.write_text("import os\nwith x:\n    from jacobian_ensembles.evaluation.theorem import theorem_bounds\n")
    before = script_digest(script)
    script.write_text("# a comment\n" + script.read_text())
    assert script_digest(script) == before
    package("evaluation.theorem", "sigma**2 *", "sigma * sigma *")
    assert script_digest(script) != before


def test_a_script_counts_by_what_it_does_itself(tmp_path):
    script = tmp_path / "s.py"
    digests = []
    for call in ("f(1)", "f(2)"):
        script.write_text(f"from jacobian_ensembles.evaluation.theorem import f\n{call}\n")
        digests.append(script_digest(script))
    assert digests[0] != digests[1]


def test_an_edit_of_what_all_scripts_share_counts_for_those_that_use_it(tmp_path):
    for path in SCRIPTS.glob("*.py"):
        shutil.copy(path, tmp_path)
    before = {path.stem: adapter_digest(path) for path in sorted(tmp_path.glob("[!_]*.py"))}

    def changed_by(old, new):
        shared = (tmp_path / "_job.py").read_text()
        assert old in shared
        (tmp_path / "_job.py").write_text(shared.replace(old, new, 1))
        after = {name: adapter_digest(tmp_path / f"{name}.py") for name in before}
        (tmp_path / "_job.py").write_text(shared)
        return {name for name in before if after[name] != before[name]}

    of_a_cell = {path.stem for path in tmp_path.glob("[!_]*.py") if "_job.cell(" in path.read_text()}
    assert changed_by("int(wildcards.repetition)", "int(wildcards.repetition) + 1") == of_a_cell
    assert changed_by("short_commit(commit() or", "short_commit(None or") == {"plot_figure", "write_table"}
    assert changed_by('"MPLBACKEND": "agg"', '"MPLBACKEND": "pdf"') == set(before)
    assert not changed_by("The model that a job's wildcards spell", "A model")


def test_digests_are_kept_until_a_file_differs(tmp_path, package, monkeypatch):
    kept = tmp_path / "kept/digests.json"
    source_, digests = project_digests(SCRIPTS, kept)
    assert digests["scripts"]["craft_uaps"] == adapter_digest(SCRIPTS / "craft_uaps.py")
    assert digests["names"]["sgd"] == extension_digest("sgd")
    with monkeypatch.context() as patch:
        patch.setattr(source, "adapter_digest", None)  # not asked for
        assert project_digests(SCRIPTS, kept) == (source_, digests)
    package("models.jacobian", "F.normalize(", "1.0 * F.normalize(")
    edited, others = project_digests(SCRIPTS, kept)
    assert edited != source_
    assert others["scripts"]["train_learner"] != digests["scripts"]["train_learner"]
    for content in (b"", b"{}", kept.read_bytes().replace(b"craft_uaps", b"draft_uaps")):
        kept.write_bytes(content)
        assert project_digests(SCRIPTS, kept) == (edited, others)
    assert project_digests(SCRIPTS, "/proc/nowhere/digests.json") == (edited, others)


def test_an_edit_while_digests_are_worked_out_is_not_kept(tmp_path, package, monkeypatch):
    def edit(name):
        package("models.jacobian", "import", "import  ")
        return ""

    monkeypatch.setattr(source, "_BUILT_IN", {"sgd": ""})
    monkeypatch.setattr(source, "extension_digest", edit)
    project_digests(SCRIPTS, tmp_path / "digests.json")
    assert not (tmp_path / "digests.json").exists()


@pytest.mark.parametrize(
    ("file", "user"),
    [
        ("paper/table1.csv", "paper.comparison"),
        ("report/report.html.j2", "stages.write_report"),
        ("report/tradeoff.svg.j2", "stages.write_report"),
        ("report/comparison.html.j2", "stages.compare_runs"),
    ],
)
def test_templates_and_tables_that_the_package_brings_count(package, file, user):
    before = code_digest(user), code_digest("stages.craft_uaps")
    path = source._PACKAGE / file
    path.write_text(path.read_text() + " ")
    source._read.cache_clear()
    assert code_digest(user) != before[0]
    assert code_digest("stages.craft_uaps") == before[1]


def test_the_source_as_it_is_changes_with_every_file_and_with_nothing_that_python_adds(package, tmp_path):
    scripts = tmp_path / "scripts"
    scripts.mkdir()
    (scripts / "job.py").write_text("import os\n")
    seen = [source_digest(scripts)]
    for path in (source._PACKAGE / "paper/table1.csv", source._PACKAGE / "models/jacobian.py", scripts / "job.py"):
        path.write_text(path.read_text() + "\n")
        seen.append(source_digest(scripts))
    (source._PACKAGE / "models/jacobian.py").rename(source._PACKAGE / "models/jacobians.py")
    seen.append(source_digest(scripts))
    assert len({*seen}) == len(seen)
    (source._PACKAGE / "models/__pycache__").mkdir(exist_ok=True)
    (source._PACKAGE / "models/__pycache__/added.pyc").write_bytes(b"")
    assert source_digest(scripts) == seen[-1]


def test_every_file_that_the_package_brings_is_named_by_a_module_beside_it():
    for path in source._PACKAGE.rglob("*.*"):
        if path.suffix not in (".py", ".typed") and "__pycache__" not in path.parts:
            assert any(f'"{path.name}"' in module.read_text() for module in path.parent.glob("*.py")), path


def test_docstrings_that_tables_show_count(package):
    before = code_digest("robustness.stress_tables"), code_digest("robustness.flags")
    package("robustness.flags", "A search that sees only scores", "A search which sees only scores")
    assert code_digest("robustness.stress_tables") != before[0]
    assert code_digest("robustness.flags") == before[1]  # whoever only flags shows none


@pytest.mark.parametrize(
    ("lines", "module"),
    [
        ("import jacobian_ensembles as je\nje.craft_uaps(1)", "attacks.crafting"),
        ("import jacobian_ensembles\njacobian_ensembles.craft_uaps(1)", "attacks.crafting"),
        ("from jacobian_ensembles import craft_uaps as c", "attacks.crafting"),
        ("import jacobian_ensembles.attacks.ascent as a", "attacks.ascent"),
        ("import jacobian_ensembles.attacks.ascent\njacobian_ensembles.attacks.ascent.x", "attacks.ascent"),
        ("from jacobian_ensembles.attacks import ascent", "attacks.ascent"),
        ("from jacobian_ensembles import attacks\nattacks.ascent.x", "attacks.ascent"),
        ("import jacobian_ensembles as je\ngetattr(je, name)(1)", "attacks.crafting"),
        ("def f():\n    from jacobian_ensembles.attacks.ascent import x", "attacks.ascent"),
        ("from jacobian_ensembles import *", "attacks.crafting"),
    ],
)
def test_a_users_file_counts_with_the_package_however_it_imports_it(tmp_path, package, lines, module):
    script = tmp_path / "own.py"
    script.write_text(lines)
    before = script_digest(script)
    path = source._PACKAGE / f"{module.replace('.', '/')}.py"
    path.write_text(path.read_text() + "\nEDITED = 1\n")
    source._read.cache_clear()
    assert script_digest(script) != before


def test_what_a_users_file_does_not_reach_does_not_count(tmp_path, package):
    script = tmp_path / "own.py"
    script.write_text("import jacobian_ensembles as je\nje.load_split(je.__version__)")
    before = script_digest(script)
    package("attacks.ascent", "import", "import os\nimport")
    assert script_digest(script) == before


@pytest.mark.parametrize(
    "line",
    ["np.load(HERE / 'net.npy')", "np.load('net.npy')", "np.load(f'{HERE}/net.npy')", "FILES = ['net.npy']",
     "np.load(HERE / 'weights' / 'deep.npy')", "np.load(os.path.join(HERE, 'weights', 'deep.npy'))",
     "np.load('weights/deep.npy')"],
)  # fmt: skip
def test_a_file_that_a_users_file_names_counts_by_its_content(tmp_path, line):
    (tmp_path / "weights").mkdir()
    script = tmp_path / "own.py"
    script.write_text(line)
    digests = []
    for content in ("1", "2", "1"):
        for path in (tmp_path / "net.npy", tmp_path / "weights/deep.npy"):
            path.write_text(content)
        digests.append(script_digest(script))
    assert digests[0] == digests[2] != digests[1]


def test_an_edit_of_any_module_changes_the_digests_of_jobs_and_of_no_others(package, monkeypatch):
    """One statement more in each module in turn: some jobs' digests change, but not all; or it reaches no result."""
    read, known = source._read.__wrapped__, {}

    def remembered(module):
        return known.get(module) or known.setdefault(module, read(module))

    remembered.cache_clear = known.clear
    monkeypatch.setattr(source, "_read", remembered)
    roots = {path.stem: source._imports([*ast.walk(source.parse(path))]) for path in SCRIPTS.glob("[!_]*.py")}
    del roots["download_dataset"]  # its result is verified by what is published
    drawn = {item.function for item in (*FIGURES, *TABLES)}
    built_in = {*ATTACKS, *ARCHITECTURES, *OBJECTIVES, *drawn}

    def digests():
        return {name: code_digest(*modules) for name, modules in roots.items()} | {
            n: extension_digest(n) for n in built_in
        }

    before, reached_nothing, edits = digests(), set(), 0
    for path in sorted(source._PACKAGE.rglob("[a-z]*.py")):
        module, content = ".".join(path.relative_to(source._PACKAGE).with_suffix("").parts), path.read_bytes()
        path.write_bytes(content + b"\nEDITED = 1\n")
        was = known.pop(module, None)
        after = digests()
        path.write_bytes(content)
        if was is not None:
            known[module] = was
        changed = {name for name in before if after[name] != before[name]}
        assert len(changed) < len(before), module
        edits += 1
        if not changed:
            reached_nothing.add(module)
    assert edits > 180
    assert {m for m in reached_nothing if not {m, m.split(".")[0]} & NO_RESULT} == set()
    assert {m for m in NO_RESULT if "." in m} <= reached_nothing


def test_an_unknown_module_is_refused():
    with pytest.raises(ValueError, match="no module 'trainning'"):
        code_digest("trainning")


def test_every_module_is_read():
    modules = [p.relative_to(source._PACKAGE) for p in Path(source._PACKAGE).rglob("[a-z]*.py")]
    assert len(modules) > 30
    for module in modules:
        assert len(code_digest(".".join(module.with_suffix("").parts))) == 16


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A package of four modules: top imports middle inside a function, middle imports base and config."""
    folder = tmp_path / "jacobian_ensembles"
    folder.mkdir()
    monkeypatch.setattr(source, "_PACKAGE", folder)
    texts = {
        "base": 'def f(x=1):\n    """What."""\n    return x + 1\n',
        "middle": "from jacobian_ensembles.base import f\nfrom jacobian_ensembles.config.schema import C\n",
        "top": "def g():\n    from jacobian_ensembles.middle import f\n    return f\n",
        "config/schema": "C = 1\n",
    }
    (folder / "config").mkdir()

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
    assert tiny(**{"config/schema": "from jacobian_ensembles.nowhere import x\n"}) == tiny()


def followed(path, tree):
    """What is wrong with a file's imports of the package, for the digests that follow them."""
    modules = {".".join(p.relative_to(source._PACKAGE).with_suffix("").parts) for p in source._PACKAGE.rglob("*.py")}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            package, _, module = (node.module or "").partition(".")
            # code_digest imports the map of public names to modules, by which it follows imports itself
            if node.level or (node.module == "jacobian_ensembles" and path.name != "code_digest.py"):
                yield f"{path}: import modules by their full names, not {ast.unparse(node)}"
            elif package == "jacobian_ensembles" and module and module not in modules:
                yield f"{path}: {ast.unparse(node)} names a package, not a module of it"
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name.startswith("jacobian_ensembles")]
            # these two read __version__, which is no science
            if names and not (path.name in ("provenance.py", "page.py") and names == ["jacobian_ensembles"]):
                yield f"{path}: {ast.unparse(node)} is not followed"


def test_every_import_of_the_package_has_the_one_form_that_digests_follow():
    root = Path(__file__).resolve().parents[3]
    for path in [*(root / "src").rglob("*.py"), *(root / "workflow" / "scripts").glob("*.py")]:
        assert not list(followed(path, ast.parse(path.read_text())))


@pytest.mark.parametrize(
    "line",
    [
        "from jacobian_ensembles.models import lenet",
        "from .lenet import LeNet",
        "import jacobian_ensembles.models.lenet",
        "from jacobian_ensembles import evaluate",
    ],
)
def test_an_import_of_another_form_would_be_noticed(line):
    assert len(list(followed(Path("src/jacobian_ensembles/models/new.py"), ast.parse(line)))) == 1


def test_packages_hold_nothing_that_a_digest_would_miss():
    for path in source._PACKAGE.rglob("*/__init__.py"):
        assert len(ast.parse(path.read_text()).body) == 1, f"{path}: only a docstring"
