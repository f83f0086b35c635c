"""Files of users' code and what lies beside them: imported, watched, and parsed in any encoding."""

import sys

import pytest

from jacobian_ensembles.extensions.code_digest import extension_digest
from jacobian_ensembles.extensions.references import ExtensionError, check_reference, files_behind, resolve


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder for a user's files; what they import is forgotten afterwards."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def write(folder, **files):
    """Write Python files: ``a`` is a.py, ``a__b`` a/b.py, and ``a__`` a/__init__.py."""
    for name, text in files.items():
        package, _, module = name.rpartition("__")
        path = folder / package / f"{module or '__init__'}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")


IMPORTS = {
    "import": ("import layers_a\ndef load(): return layers_a.value()", {"layers_a": "def value(): return 1"}),
    "from": ("from layers_b import value as load", {"layers_b": "def value(): return 1"}),
    "late": ("def load():\n    from layers_c import value\n    return value()", {"layers_c": "def value(): return 1"}),
    "of a neighbour": (
        "from layers_d import value as load",
        {"layers_d": "from layers_e import value", "layers_e": "def value(): return 1"},
    ),
    "package": (
        "from parts_a.blocks import value as load",
        {"parts_a__": "", "parts_a__blocks": "def value(): return 1"},
    ),
    "part of a package": (
        "from parts_b import blocks\ndef load(): return blocks.value()",
        {"parts_b__": "", "parts_b__blocks": "from .more import value", "parts_b__more": "def value(): return 1"},
    ),
    "folder": ("import parts_c.blocks\ndef load(): return parts_c.blocks.value()",
               {"parts_c__blocks": "def value(): return 1"}),
    "circle": (
        "import layers_f\ndef load(): return layers_f.value()",
        {"layers_f": "import layers_g\ndef value(): return layers_g.one", "layers_g": "import layers_f\none = 1"},
    ),
    "star": ("from layers_h import *", {"layers_h": "def load(): return 1"}),
    "by name": (
        "import importlib\ndef load(): return importlib.import_module('layers_i').value()",
        {"layers_i": "def value(): return 1"},
    ),
    "under another name": ("import layers_j as j\ndef load(): return j.value()", {"layers_j": "def value(): return 1"}),
}  # fmt: skip


@pytest.mark.parametrize("kind", IMPORTS)
def test_neighbours_are_imported_and_an_edit_of_any_counts(folder, kind):
    text, files = IMPORTS[kind]
    write(folder, arch=text, **files)
    reference = f"{folder}/arch.py:load"
    assert check_reference(reference, ()) == reference
    assert resolve(reference, {})() == 1
    behind = files_behind(reference)
    assert len(behind) == 1 + len(files)
    before = extension_digest(reference)
    for path in behind:
        kept = path.read_text()
        path.write_text(f"# a comment\n{kept}")
        assert extension_digest(reference) == before
        path.write_text(f"{kept}\nextra = 1\n")
        assert extension_digest(reference) != before
        path.write_text(kept)


def test_a_file_that_nobody_imports_does_not_count(folder):
    write(folder, arch="import os, numpy\ndef load(): pass", other="x = 1")
    assert files_behind(f"{folder}/arch.py:load") == [folder / "arch.py"]
    assert files_behind("voting") == []


def test_files_of_two_folders_with_neighbours_of_one_name_are_not_mixed_up(folder):
    for name in "ab":
        (folder / name).mkdir()
        write(folder / name, arch="from same_name import value as load", same_name=f"def value(): return {name!r}")
    assert resolve(f"{folder}/a/arch.py:load", {})() == "a"
    with pytest.raises(ExtensionError, match=r"imports same_name, which lies beside it and is also .*/a/same_name.py"):
        resolve(f"{folder}/b/arch.py:load", {})


def test_a_neighbour_named_like_an_installed_module_is_refused(folder):
    write(folder, arch="from yaml import value as load", yaml="def value(): return 1")
    with pytest.raises(ExtensionError, match=r"imports yaml, which lies beside it and is also .*; rename yours"):
        resolve(f"{folder}/arch.py:load", {})


def test_a_neighbour_named_like_a_module_of_python_is_not_one(folder):
    write(folder, arch="import statistics\ndef load(): return statistics.mean([1, 3])", statistics="mean = None")
    assert resolve(f"{folder}/arch.py:load", {})() == 2
    assert files_behind(f"{folder}/arch.py:load") == [folder / "arch.py"]


def test_a_file_that_fails_can_be_mended_and_run_again(folder):
    write(folder, arch="1 / 0\ndef load(): return 1")
    reference = f"{folder}/arch.py:load"
    with pytest.raises(ZeroDivisionError):
        resolve(reference, {})
    write(folder, arch="def load(): return 1")
    assert resolve(reference, {})() == 1


ENCODED = {
    "bom": "def load(): return 'é'\n".encode("utf-8-sig"),
    "crlf": b"def load():\r\n    return 1\r\n",
    "cr": b"def load():\r    return 1\r",
    "bom and crlf": b"\xef\xbb\xbfimport os\r\n\r\ndef load():\r\n    return 1\r\n",
    "latin-1": "# -*- coding: latin-1 -*-\ndef load(): return 'é'\n".encode("latin-1"),
    "cp1252": "#!/usr/bin/env python\n# vim: set fileencoding=cp1252 :\ndef load(): return '€'\n".encode("cp1252"),
    "utf-8": "def load(): return 'λ'\n".encode(),
    "no newline": b"load = print",
    "form feed": b"\x0cdef load(): pass\n",
}


@pytest.mark.parametrize("kind", ENCODED)
def test_python_in_any_encoding_is_read(folder, kind):
    (folder / "own.py").write_bytes(ENCODED[kind])
    reference = f"{folder}/own.py:load"
    check_reference(reference, ())
    assert len(extension_digest(reference)) == 16
    assert callable(resolve(reference, {}))


@pytest.mark.parametrize(
    "content",
    [b"def load(: pass", b"\xff\xfed\x00e\x00f\x00", b"x = '\xe9'\n", b"def load(): pass\x00", b"# coding: nonsense\n"],
    ids=["syntax", "utf-16", "latin-1 undeclared", "null byte", "unknown coding"],
)
def test_what_is_not_python_is_refused(folder, content):
    (folder / "own.py").write_bytes(content)
    with pytest.raises(ExtensionError, match=r"own.py is not valid Python"):
        check_reference(f"{folder}/own.py:load", ())
    write(folder, arch="from own import load")
    with pytest.raises(ExtensionError, match=r"own.py is not valid Python"):
        files_behind(f"{folder}/arch.py:load")


@pytest.mark.parametrize(
    "text",
    [
        "try:\n    import nothing_of_this_name\nexcept ImportError:\n    def load(): return 1",
        "if True:\n    def load(): return 1\nelse:\n    load = None",
        "with open(__file__) as f:\n    load = lambda: 1",
        "for load in [lambda: 1]: pass",
        "load, other = (lambda: 1), 2",
        "try:\n    pass\nfinally:\n    class load: pass",
        "if (load := lambda: 1): pass",
        "from functools import partial as load",
        "load: object = lambda: 1",
        "import sys\nif sys:\n    if sys:\n        from functools import reduce as load",
        "while True:\n    def load(): pass\n    break",
    ],
)
def test_what_is_defined_under_a_condition_is_found(folder, text):
    write(folder, own=text)
    check_reference(f"{folder}/own.py:load", ())
    assert callable(resolve(f"{folder}/own.py:load", {}))


@pytest.mark.parametrize(
    "text",
    ["def other():\n    def load(): pass", "class A:\n    def load(self): pass", "x = lambda: (load := 1)",
     "print('load')", "def f():\n    global load\n    load = 1"],
)  # fmt: skip
def test_what_is_defined_elsewhere_is_not_found(folder, text):
    write(folder, own=text)
    with pytest.raises(ExtensionError, match=r"own.py defines no load"):
        check_reference(f"{folder}/own.py:load", ())


def test_what_turns_out_not_to_be_there_is_refused(folder):
    write(folder, own="import sys\nif not sys:\n    def load(): pass")
    with pytest.raises(ExtensionError, match=r"load is None, where something to call is needed"):
        resolve(f"{folder}/own.py:load", {})


def test_a_users_module_elsewhere_on_the_path_counts_and_an_installed_one_does_not(folder, monkeypatch):
    (folder / "lib").mkdir()
    (folder / "own").mkdir()
    write(folder / "own", arch="import helpers_k, numpy, pytest\ndef load(): return helpers_k.value()")
    write(folder / "lib", helpers_k="import helpers_l\ndef value(): return helpers_l.one", helpers_l="one = 1")
    monkeypatch.syspath_prepend(str(folder / "lib"))
    reference = f"{folder}/own/arch.py:load"
    assert files_behind(reference)[1:] == [folder / "lib/helpers_k.py", folder / "lib/helpers_l.py"]
    before = extension_digest(reference)
    write(folder / "lib", helpers_l="one = 2")
    assert extension_digest(reference) != before
    assert resolve(reference, {})() == 2
