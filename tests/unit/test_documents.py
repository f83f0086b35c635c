"""What the documents say of shipped results is what the shipped files say."""

import json
import re
import shlex
import sys
from pathlib import Path

import pandas as pd
import pytest
from snakemake.cli import parse_args

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "docs"))

import fill  # noqa: E402

PAGES = [str(page.relative_to(ROOT)) for page in fill.pages()]
CODE = [
    path.relative_to(ROOT)
    for folder in ("benchmarks", "docs", "src", "tests", "workflow")
    for path in (ROOT / folder).rglob("*.py")
]
PRESETS = [str(preset.relative_to(ROOT)) for preset in sorted((ROOT / "workflow" / "presets").glob("*.yaml"))]


@pytest.mark.parametrize("page", PAGES)
def test_quoted_tables_and_code_are_those_of_their_files(page):
    text = (ROOT / page).read_text()
    assert fill.filled(text) == text, "run: python docs/fill.py"


@pytest.mark.parametrize("page", PAGES)
def test_no_marker_is_misspelt(page):
    text = (ROOT / page).read_text()
    assert text.count("<!-- end -->") == len(fill.PIECE.findall(text))
    included = re.findall(r"^.*\b8 ?<.*$", text, re.MULTILINE)  # mkdocs' own inclusion, where a page uses it
    assert all(re.fullmatch(r'--8<-- "[\w./-]+(:\d+)?"', line) for line in included)


@pytest.mark.parametrize("page", PAGES)
def test_pictures_and_files_that_a_page_links_to_are_there(page):
    text = re.sub(r"```.*?```|`[^`\n]*`", "", (ROOT / page).read_text(), flags=re.DOTALL)
    links = re.findall(r"\]\(([^)#\s]+)", text)
    missing = [link for link in links if "://" not in link and not ((ROOT / page).parent / link).exists()]
    assert not missing


@pytest.mark.parametrize("page", PAGES)
def test_code_and_tests_that_a_page_names_are_there(page):
    text = (ROOT / page).read_text()
    named = re.findall(r"`([\w/]*\w\.py)(?:::\w+)?`", text)
    known = "\n".join(f"/{path}" for path in CODE) + "\n"
    assert not [name for name in named if f"/{name}\n" not in known]
    tests = "".join((ROOT / path).read_text() for path in CODE if path.parts[0] == "tests")
    assert not [name for name in re.findall(r"`(?:[\w/.]+::)?(test_\w+_\w+)`", text) if f"def {name}(" not in tests]


@pytest.mark.parametrize("page", [*PAGES, *PRESETS, "config.yaml", "Snakefile"])
def test_snakemake_commands_parse_and_name_rules_that_exist(page, monkeypatch):
    monkeypatch.chdir(ROOT)  # profiles are read
    monkeypatch.delenv("SNAKEMAKE_PROFILE", raising=False)
    files = [ROOT / "Snakefile", *ROOT.glob("workflow/rules/*.smk")]
    rules = {r for file in files for r in re.findall(r"^rule (\w+):", file.read_text(), re.M)}
    text = (ROOT / page).read_text().replace("\\\n", "")
    for command in re.findall(r"^(?:\$|#) .*?\bsnakemake ((?:-|[\w./ ]+ --).*)", text, re.MULTILINE):
        words = shlex.split(re.split(r" {3,}", command)[0])  # what the command does follows after a gap
        _, options = parse_args(words)  # an option that takes several values swallows targets after it
        assert all(target in rules or "/" in target for target in options.targets), command


def test_columns_are_chosen_and_what_was_there_is_replaced(tmp_path, monkeypatch):
    monkeypatch.setattr(fill, "ROOT", tmp_path)
    (tmp_path / "t.md").write_text("A note.\n\n| a | b | c |\n| --- | --- | --- |\n| 1 | 2 | 3 |\n\n*From x.*\n")
    page = "before\n<!-- table t.md columns 0 2 -->\nold\n<!-- end -->\nafter\n"
    expected = "| a | c |\n| --- | --- |\n| 1 | 3 |"
    assert fill.filled(page) == f"before\n<!-- table t.md columns 0 2 -->\n\n{expected}\n\n<!-- end -->\nafter\n"
    assert fill.filled(fill.filled(page)) == fill.filled(page)


def test_rows_are_chosen(tmp_path, monkeypatch):
    monkeypatch.setattr(fill, "ROOT", tmp_path)
    (tmp_path / "t.md").write_text("| a | b |\n|---|---|\n| 1 | 2 |\n| 3 | 4 |\n| 5 | 6 |\n")
    page = "<!-- table t.md columns 1 rows 0 2 -->\n<!-- end -->\n"
    assert fill.filled(page).splitlines()[2:6] == ["| b |", "| --- |", "| 2 |", "| 6 |"]


def test_one_of_several_tables_is_chosen(tmp_path, monkeypatch):
    monkeypatch.setattr(fill, "ROOT", tmp_path)
    (tmp_path / "t.md").write_text("| a |\n|---|\n| 1 |\n\nSo a is 1.\n\n| b | c |\n|---|---|\n| 2 | 3 |\n")
    assert fill.filled("<!-- table t.md -->\n<!-- end -->").splitlines()[2:5] == ["| a |", "|---|", "| 1 |"]
    page = "<!-- table t.md part 2 columns 1 -->\n<!-- end -->\n"
    assert fill.filled(page).splitlines()[2:5] == ["| c |", "| --- |", "| 3 |"]


def test_runs_stand_side_by_side_and_a_model_that_one_lacks_is_a_dash(tmp_path, monkeypatch):
    monkeypatch.setattr(fill, "ROOT", tmp_path)
    header = "dataset,ensemble,members,lambda,clean_accuracy,mean_uap_accuracy\n"
    for run, rows in {
        "a": "fashion_mnist,voting,1,0.5,0.8,0.5\nmnist,voting,1,0,0.99,0.2\nmnist,voting,1,0.05,0.98,0.7\n",
        "b": "mnist,voting,1,0,0.97,0.1\nfashion_mnist,voting,1,0.5,0.75,0.45\n",
    }.items():
        metrics = tmp_path / "results" / "reference" / run / "metrics"
        metrics.mkdir(parents=True)
        (metrics / "summary.csv").write_text(header + rows)
    expected = """
| model | a | b | *paper* |
| --- | --- | --- | --- |
| MNIST, voting M=1 λ=0.00 | 99.0 / 20.0 | 97.0 / 10.0 | 99.1 / 31.9 |
| MNIST, voting M=1 λ=0.05 | 98.0 / 70.0 | – | 98.4 / 74.2 |
| Fashion-MNIST, voting M=1 λ=0.50 | 80.0 / 50.0 | 75.0 / 45.0 | – |
"""
    assert fill.filled("<!-- runs a,b -->\nold\n<!-- end -->") == f"<!-- runs a,b -->\n{expected}\n<!-- end -->"


def test_a_grid_has_a_column_for_each_lambda(tmp_path, monkeypatch):
    monkeypatch.setattr(fill, "ROOT", tmp_path)
    metrics = tmp_path / "results" / "reference" / "a" / "metrics"
    metrics.mkdir(parents=True)
    (metrics / "summary.csv").write_text(
        "dataset,ensemble,members,lambda,clean_accuracy,mean_uap_accuracy\n"
        "fashion_mnist,voting,1,0,0.9,0.2\nmnist,bagging,9,0.5,0.98,0.8\nmnist,voting,1,0,0.99,0.25\n"
    )
    expected = """
| model | λ=0.00 | λ=0.50 |
| --- | --- | --- |
| MNIST, bagging M=9 | – | 98.0 / 80.0 |
| MNIST, voting M=1 | 99.0 / 25.0 | – |
| Fashion-MNIST, voting M=1 | 90.0 / 20.0 | – |
"""
    assert fill.filled("<!-- grid a -->\n<!-- end -->") == f"<!-- grid a -->\n{expected}\n<!-- end -->"


def test_what_made_a_run_is_read_from_its_provenance(tmp_path, monkeypatch):
    monkeypatch.setattr(fill, "ROOT", tmp_path)
    run = tmp_path / "results" / "reference" / "a"
    (run / "metrics").mkdir(parents=True)
    (run / "metrics" / "summary.csv").write_text("repetitions,seeds\n5,50\n5,50\n")
    made = {
        "jobs": {"train_learner": 10, "craft_uaps": 40},
        "hours": {"train_learner": 0.25, "craft_uaps": 2.0},
        "commit": ["abcdef0123456789", "0123456789abcdef"],
        "last_finished": "2026-01-02T03:04:05+00:00",
    }
    (run / "provenance.json").write_text(json.dumps(made))
    text = fill.filled("<!-- origins a -->\n<!-- end -->")
    assert "| `a` | 2 | 5 | 50 | 50 | 2.2 | `abcdef0`, `0123456` | 2026-01-02 |" in text


def test_the_best_strengths_of_shipped_runs_are_compared():
    marked = "<!-- compare lambdas,lambdas-relu -->\n<!-- end -->"
    lines = fill.filled(marked).splitlines()
    rows = [line for line in lines if line.startswith("| ")]
    assert "Mean over ε = 0.10, 0.15, 0.20, 0.25, each under the worst of 5 attack seeds." in lines
    assert [row.split(" | ")[2] for row in rows[2:]] == ["lambdas", "lambdas-relu"] * 2
    best = {}
    for run in ("lambdas", "lambdas-relu"):
        summary = pd.read_csv(ROOT / "results" / "reference" / run / "metrics" / "summary.csv")
        best[run] = summary[summary["dataset"] == "mnist"]["weighted_accuracy"].max()
    assert f"| {100 * (best['lambdas-relu'] - best['lambdas']):+.1f} |" in rows[3]
