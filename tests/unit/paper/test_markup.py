"""User text inside a markup is printed as it is."""
# ruff: noqa: RUF001 - characters that look alike are what this is about

import re
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure

from jacobian_ensembles.paper import markup
from jacobian_ensembles.paper.labels import to_markdown
from jacobian_ensembles.paper.table1 import table1

ROOT = Path(__file__).resolve().parents[3]
#: Names, banners and notes that some markup or other would take for its own.
HOSTILE = [
    "half_median", "my_digits", r"C:\new $5 & $6 #1 ~a^b {x} 100%", "a $$ b",
    "λ ε Ω μ µ ‖J‖² ≤ 3 ± 1 → ∞ – — “quoted” …",
    "Zoë Łódź naïve Ångström ñ ç ğ ő", "数据 данные 🙂", "[5pt] *bold* `code` | cell |", "two\nlines\n\n% comment",
    "]]>", "<b>&amp;</b>", r"\input{/etc/passwd} \end{document}", "-- --- '' ``", '"double"', "\x07bell\ttab", "",
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("half_median", r"half\_median"),
        ("50 % & #1 of {x}", r"50 \% \& \#1 of \{x\}"),
        ("λ = 0.5", r"\ensuremath{\lambda} = 0.5"),
        ("ε – μ", r"\ensuremath{\varepsilon} -- \ensuremath{\mu}"),
        ("‖J‖²", r"\ensuremath{\Vert}J\ensuremath{\Vert}\ensuremath{^2}"),
        (r"a\b^c~d", r"a\textbackslash{}b\textasciicircum{}c\textasciitilde{}d"),
        ("é and e\u0301", r"\'{e} and \'{e}"),
        ("数", "{[}U+6570{]}"),
        ("one\n\n two", "one two"),
    ],
)
def test_latex_spells_what_is_special(text, wanted):
    assert markup.latex(text) == wanted


@pytest.mark.parametrize("text", HOSTILE)
def test_latex_is_plain_ascii_without_open_braces(text):
    out = markup.latex(text)
    assert out.isascii()
    assert out.isprintable()
    bare = re.sub(r"\\[{}]", "", out)
    assert bare.count("{") == bare.count("}")


def test_labels_of_different_runs_differ():
    runs = ["a-b", "a_b", "a b", "a.b", "ab", "a%b", "aλb"]
    labels = [markup.latex_label("table1", run) for run in runs]
    assert len(set(labels)) == len(runs)
    assert all(re.fullmatch(r"tab:[A-Za-z0-9_.+-]+", label) for label in labels)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a | b", r"a \| b"),
        ("half_median", "half_median"),
        ("_x_", r"\_x\_"),
        ("*bold* and `code`", r"\*bold\* and \`code\`"),
        ("<b>", r"\<b>"),
        ("p < 0.05", "p < 0.05"),
        ("[text](there)", r"[text\](there)"),
        ("82.8 [81.8, 84.8]", "82.8 [81.8, 84.8]"),
        ("-2.8", "-2.8"),
        ("# QUICK", r"\# QUICK"),
        ("- item", r"\- item"),
        ("1. item", r"1\. item"),
        ("1.5 items", "1.5 items"),
        ("> said", r"\> said"),
        ("&copy; AT&T", r"\&copy; AT&T"),
        ("costs $5 and $6", r"costs \$5 and \$6"),
        ("two\nlines", "two lines"),
        (r"a\|b", r"a\\\|b"),
    ],
)
def test_markdown_escapes_what_would_be_read(text, wanted):
    assert markup.markdown(text) == wanted


@pytest.mark.parametrize("text", HOSTILE)
def test_a_cell_of_markdown_stays_one_cell(text):
    table = to_markdown(pd.DataFrame({"model": [text], text or "empty": ["1"]}))
    lines = table.splitlines()
    assert len(lines) == 3
    assert {len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) for line in lines} == {3}


@pytest.mark.parametrize("text", [text for text in HOSTILE if "\n" not in text and "\t" not in text])
def test_a_figure_prints_dollars_as_they_are(text):
    shown = Figure().text(0, 0, markup.mathtext(text))._preprocess_math(markup.mathtext(text))
    assert shown == (text, False)


@pytest.mark.parametrize("text", ["=1+1", "+1", "-x", "@SUM(A1)", " =1", "\t=1", "＝1", "\n-1"])
def test_what_a_spreadsheet_would_run_is_refused(text):
    with pytest.raises(ValueError, match="a spreadsheet would run as a formula; begin it with a letter"):
        markup.csv(text)


@pytest.mark.parametrize("text", ["", "QUICK", "5 attack seeds, not 50", "a=b", "λ = 1", "a-b"])
def test_other_text_may_stand_in_a_csv_file(text):
    assert markup.csv(text) == text


def summary(dataset="mnist", ensemble="voting"):
    models = [(ensemble, 1, 0.0, 0.31), ("bagging", 3, 0.5, 0.7), (ensemble, 1, 0.05, 0.6)]
    table = pd.DataFrame(models, columns=["ensemble", "members", "lambda", "mean_uap_accuracy"])
    table = table.assign(dataset=dataset, clean_accuracy=0.99, weighted_accuracy=0.7, eps_values=4, seeds=5, images=100)
    for stem in ("clean", "mean_uap", "weighted"):
        table[f"{stem}_low"], table[f"{stem}_high"] = 0.1, 0.95
    return table.assign(repetitions=3, norm="l2")


def compile_latex(folder, tables):
    """The problems that pdflatex finds in tables, in a document that loads nothing but booktabs."""
    body = "\n".join(tables)
    text = f"\\documentclass{{article}}\n\\usepackage{{booktabs}}\n\\begin{{document}}\n{body}\n\\end{{document}}\n"
    (folder / "t.tex").write_text(text, encoding="utf-8")
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"],
        cwd=folder,
        capture_output=True,
        check=False,
    )
    log = (folder / "t.log").read_text(encoding="latin-1") if (folder / "t.log").exists() else ""
    return [line for line in log.splitlines() if line.startswith("!") or "multiply" in line or "Overfull" in line] + (
        [] if done.returncode == 0 else [f"pdflatex ended with {done.returncode}"]
    )


@pytest.fixture(scope="module")
def latex_works(tmp_path_factory):
    """Skips where there is no pdflatex that can set this document without anything of ours."""
    if shutil.which("pdflatex") is None:
        pytest.skip("no pdflatex")
    if problems := compile_latex(
        tmp_path_factory.mktemp("latex"), [r"\small x {\tiny 1} \'{e} \ensuremath{\lambda^2}"]
    ):
        pytest.skip(f"pdflatex is not completely installed: {problems}")


@pytest.mark.usefixtures("latex_works")
@pytest.mark.parametrize("text", HOSTILE)
def test_pdflatex_compiles_hostile_names(tmp_path, text):
    name = text or "x"
    both = pd.concat([summary(name, name), summary()])
    problems = compile_latex(tmp_path, [table1({"summary": both}, name, text).latex])
    assert not [line for line in problems if "Overfull" not in line]  # a name may be long


@pytest.mark.usefixtures("latex_works")
def test_pdflatex_compiles_every_shipped_table_together(tmp_path):
    """As they are, and as redrawn from the shipped summaries; in one document, so that their labels differ, too."""
    shipped_tables = sorted((ROOT / "results" / "reference").glob("*/tables/*.tex"))
    assert len(shipped_tables) > 20
    assert not compile_latex(tmp_path, [path.read_text(encoding="utf-8") for path in shipped_tables])
    tables = []
    for path in sorted((ROOT / "results" / "reference").glob("*/metrics/summary.csv")):
        shipped = pd.read_csv(path)
        tables.append(table1({"summary": shipped}, path.parents[1].name, "strength λ, ε – not the paper's").latex)
    assert len(tables) > 20
    assert not compile_latex(tmp_path, tables)
