"""Text is UTF-8 whatever the locale: every file the project opens says so."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PLACES = ("src/**/*.py", "docs/**/*.py", "workflow/scripts/*.py", "benchmarks/*.py")
FILES = [path for place in PLACES for path in ROOT.glob(place)]
_OTHER_OPENERS = {"Run", "os", "Image", "PIL.Image", "tarfile", "gzip", "webbrowser", "zipfile", "packed"}


def unspoken(tree):
    """The lines on which text is read or written in the locale's encoding."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        owner = ast.unparse(node.func.value) if isinstance(node.func, ast.Attribute) else None
        given = {keyword.arg: keyword.value for keyword in node.keywords}
        if "encoding" in given:
            continue
        constants = [a.value for a in [*node.args, *given.values()] if isinstance(a, ast.Constant)]
        binary = any(isinstance(c, str) and "b" in c and len(c) <= 3 for c in constants)
        opens = name in ("open", "fdopen") and not binary and owner not in _OTHER_OPENERS
        reads = name in ("read_text", "write_text") and isinstance(node.func, ast.Attribute)
        listens = name in ("run", "Popen", "check_output") and given.keys() & {"text", "universal_newlines"}
        if opens or reads or listens or name in ("FileHandler", "TextIOWrapper", "getoutput"):
            yield node.lineno


def test_every_file_names_its_encoding():
    found = [f"{p.relative_to(ROOT)}:{line}" for p in FILES for line in unspoken(ast.parse(p.read_bytes()))]
    assert not found
    bad = "open(a); open(a, 'w'); p.read_text(); p.open(); run(c, text=True); logging.FileHandler(a); p.write_text(b)"
    assert len(list(unspoken(ast.parse(bad)))) == 7
    good = "open(a, 'rb'); p.read_bytes(); write_text(p, b); Image.open(a); open(a, encoding='utf-8')"
    assert not list(unspoken(ast.parse(good)))


@pytest.mark.parametrize(
    "locale", [{"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, {"PYTHONUTF8": "1"}]
)
def test_another_locale_gives_the_same_digests_and_texts(tmp_path, locale):
    (tmp_path / "own.py").write_text("label = 'λ'\ndef load(): return label\n", encoding="utf-8")
    (tmp_path / "record.json").write_text('{"name": "λ"}', encoding="utf-8")
    code = (
        "from jacobian_ensembles.extensions.code_digest import extension_digest, code_digest\n"
        "from jacobian_ensembles.storage.files import read_json, write_json\n"
        "print(extension_digest('own.py:load'), code_digest('attacks.sgd_uap'), ascii(read_json('record.json')))\n"
        "import jacobian_ensembles.paper.published as p; p.paper_table1()\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    plain, other = (
        subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, check=True).stdout
        for env in (environment, environment | locale)
    )
    assert plain == other
