"""What the documents say of shipped results is what the shipped files say."""

import json
import re
import shlex
import shutil
import sys
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image
from snakemake.cli import parse_args

import jacobian_ensembles as je

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "docs"))

import fill  # noqa: E402
import page_image  # noqa: E402
import prepare  # noqa: E402
import run_tables  # noqa: E402

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
    included = re.findall(r"^.*\b8 ?<.*$", text, re.MULTILINE)  # the site's own inclusion, where a page uses it
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
        assert words[: len(options.targets)] == list(options.targets), f"targets stand before options: {command}"


def run_with(root, name, table="", **files):
    """A shipped run with a table and CSV files, made at one commit."""
    run = root / "results" / "reference" / name
    for folder in ("tables", "metrics"):
        (run / folder).mkdir(parents=True)
    (run / "provenance.json").write_text(json.dumps(MADE))
    (run / "config.yaml").write_text(f"run: {{name: {name}}}\n")
    (run / "tables" / "t.md").write_text(table)
    for file, content in files.items():
        (run / "metrics" / f"{file}.csv").write_text(content)


MADE = {
    "jobs": {"train_learner": 10, "craft_uaps": 40},
    "hours": {"train_learner": 0.25, "craft_uaps": 2.0},
    "commit": ["abcdef01234567890123456789abcdef01234567-dirty", "0123456789abcdef0123456789abcdef01234567"],
    "last_finished": "2026-01-02T03:04:05+00:00",
}
T = "results/reference/a/tables/t.md"
FROM = "commits `0123456`, `abcdef0-dirty`.*"


def test_columns_are_chosen_what_was_there_is_replaced_and_the_source_stands_below(tmp_path, monkeypatch):
    monkeypatch.setattr(fill, "ROOT", tmp_path)
    run_with(tmp_path, "a", "A note.\n\n| a | b | c |\n| --- | --- | --- |\n| 1 | 2 | 3 |\n\n*From x.*\n")
    page = f"before\n<!-- table {T} columns 0 2 -->\nold\n<!-- end -->\nafter\n"
    table = f"| a | c |\n| --- | --- |\n| 1 | 3 |\n\n*From `{T}`, {FROM}"
    assert fill.filled(page) == f"before\n<!-- table {T} columns 0 2 -->\n\n{table}\n\n<!-- end -->\nafter\n"
    assert fill.filled(fill.filled(page)) == fill.filled(page)


def test_rows_are_chosen(tmp_path, monkeypatch):
    monkeypatch.setattr(fill, "ROOT", tmp_path)
    run_with(tmp_path, "a", "| a | b |\n|---|---|\n| 1 | 2 |\n| 3 | 4 |\n| 5 | 6 |\n")
    page = f"<!-- table {T} columns 1 rows 0 2 -->\n<!-- end -->\n"
    assert fill.filled(page).splitlines()[2:6] == ["| b |", "| --- |", "| 2 |", "| 6 |"]


def test_one_of_several_tables_is_chosen(tmp_path, monkeypatch):
    monkeypatch.setattr(fill, "ROOT", tmp_path)
    run_with(tmp_path, "a", "| a |\n|---|\n| 1 |\n\nSo a is 1.\n\n| b | c |\n|---|---|\n| 2 | 3 |\n")
    assert fill.filled(f"<!-- table {T} -->\n<!-- end -->").splitlines()[2:5] == ["| a |", "|---|", "| 1 |"]
    page = f"<!-- table {T} part 2 columns 1 -->\n<!-- end -->\n"
    assert fill.filled(page).splitlines()[2:5] == ["| c |", "| --- |", "| 3 |"]


def test_a_kind_that_is_unknown_is_refused_with_those_that_are():
    with pytest.raises(ValueError, match=r"knows no 'tabel'\. Use one of: table, code"):
        fill.filled(f"<!-- tabel {T} -->\n<!-- end -->")


def test_runs_stand_side_by_side_and_a_model_that_one_lacks_is_a_dash(tmp_path, monkeypatch):
    monkeypatch.setattr(fill, "ROOT", tmp_path)
    header = "dataset,ensemble,members,lambda,clean_accuracy,mean_uap_accuracy\n"
    for run, rows in {
        "run-a": "fashion_mnist,voting,1,0.5,0.8,0.5\nmnist,voting,1,0,0.99,0.2\nmnist,voting,1,0.05,0.98,0.7\n",
        "run-b": "mnist,voting,1,0,0.97,0.1\nfashion_mnist,voting,1,0.5,0.75,0.45\n",
    }.items():
        run_with(tmp_path, run, summary=header + rows)
    expected = f"""
| model | run-a | run-b | *paper* |
| --- | --- | --- | --- |
| MNIST, voting M=1 λ=0.00 | 99.0 / 20.0 | 97.0 / 10.0 | 99.1 / 31.9 |
| MNIST, voting M=1 λ=0.05 | 98.0 / 70.0 | – | 98.4 / 74.2 |
| Fashion-MNIST, voting M=1 λ=0.50 | 80.0 / 50.0 | 75.0 / 45.0 | – |

*From `results/reference/run-*/metrics/summary.csv`, {FROM}
"""
    marked = "<!-- runs run-a,run-b -->\nold\n<!-- end -->"
    assert fill.filled(marked) == f"<!-- runs run-a,run-b -->\n{expected}\n<!-- end -->"


def test_a_grid_has_a_column_for_each_lambda(tmp_path, monkeypatch):
    monkeypatch.setattr(fill, "ROOT", tmp_path)
    summary = (
        "dataset,ensemble,members,lambda,clean_accuracy,mean_uap_accuracy\n"
        "fashion_mnist,voting,1,0,0.9,0.2\nmnist,bagging,9,0.5,0.98,0.8\nmnist,voting,1,0,0.99,0.25\n"
    )
    run_with(tmp_path, "a", summary=summary)
    expected = f"""
| model | λ=0.00 | λ=0.50 |
| --- | --- | --- |
| MNIST, bagging M=9 | – | 98.0 / 80.0 |
| MNIST, voting M=1 | 99.0 / 25.0 | – |
| Fashion-MNIST, voting M=1 | 90.0 / 20.0 | – |

*From `results/reference/a/metrics/summary.csv`, {FROM}
"""
    assert fill.filled("<!-- grid a -->\n<!-- end -->") == f"<!-- grid a -->\n{expected}\n<!-- end -->"


def test_what_made_a_run_is_read_from_its_provenance(tmp_path, monkeypatch):
    monkeypatch.setattr(fill, "ROOT", tmp_path)
    run_with(tmp_path, "a", summary="dataset,ensemble,members,lambda,repetitions,seeds\nd,e,1,0,5,50\nd,e,3,0,5,50\n")
    text = fill.filled("<!-- origins a -->\n<!-- end -->")
    assert "| `a` | 2 | 5 | 50 | 50 | 2.2 | `abcdef0-dirty`, `0123456` | 2026-01-02 |" in text


def test_gains_of_ensembles_are_over_each_kind_of_single_network_and_at_each_eps(tmp_path, monkeypatch):
    monkeypatch.setattr(fill, "ROOT", tmp_path)
    accuracy = {  # (ensemble, M, lambda): at eps 0.1 and 0.2; ensembles have a point more in another training
        ("voting", 1, 0): (0.50, 0.20), ("voting", 1, 1): (0.70, 0.50),
        ("voting", 3, 0): (0.56, 0.20), ("voting", 3, 1): (0.71, 0.55),
        ("snapshot", 1, 0): (0.60, 0.30), ("snapshot", 1, 1): (0.80, 0.60),
        ("snapshot", 3, 0): (0.50, 0.30), ("snapshot", 3, 1): (0.80, 0.60),
    }  # fmt: skip
    rows = [
        {"dataset": "mnist", "ensemble": e, "members": m, "lambda": strength, "repetition": r, "eps": eps}
        | {"worst_accuracy": value + 0.01 * r * (m > 1)}
        for (e, m, strength), both in accuracy.items()
        for eps, value in zip((0.1, 0.2), both, strict=True)
        for r in (0, 1)
    ]
    run_with(tmp_path, "a", metrics=pd.DataFrame(rows).to_csv(index=False))
    shown = fill.filled("<!-- gains a -->\n<!-- end -->").splitlines()[4:6]
    assert shown[0].startswith("| MNIST | snapshot | -2.0 (-2.5 to -1.5) | +8.0 (+7.5 to +8.5) | -2.0 (-2.5 to -1.5) |")
    assert shown[1].startswith("| MNIST | voting | +3.5 (+3.0 to +4.0) | +3.5 (+3.0 to +4.0) | -6.5 (-7.0 to -6.0) |")
    # voting at eps 0.1: +1 with lambda, +6 without; at 0.2: +5 and 0; the second training's point cancels
    assert shown[1].endswith("| -5.0 | +5.0 |")


def test_a_claim_is_decided_by_the_part_with_the_least_to_spare_among_those_it_needs():
    effects = [{"part": part, "needed": 1.0, "value": mean} for part, mean in zip("abcd", (3, -1, 5, 2), strict=True)]
    assert run_tables._deciding(effects, most=False)["part"] == "b"
    assert run_tables._deciding(effects, most=True)["part"] == "d"  # three of four are needed


def test_claims_of_the_shipped_grid_have_the_shipped_verdicts_and_effects():
    shipped = pd.read_csv(ROOT / "results/reference/grid/tables/claims.csv").set_index("claim")
    rows = [line.strip("|").split(" | ") for line in fill.filled("<!-- claims grid -->\n<!-- end -->").splitlines()]
    rows = {row[0].strip(): row for row in rows if row[0].strip() in shipped.index}
    assert list(rows) == list(shipped.index)
    for claim, (_, statement, verdict, decided, *_) in rows.items():
        assert (statement, verdict) == (shipped["statement"][claim], shipped["verdict"][claim])
        if decided != "not measured":
            part, number = decided.removesuffix(" %").split(": ")
            assert f"{part.partition(' (')[0]} {number}" in shipped["evidence"][claim]


def test_the_best_strengths_of_shipped_runs_are_compared_at_equal_epochs_and_at_equal_time():
    names = "jacobian,defences-universal,defences-equal_time-universal"
    lines = fill.filled(f"<!-- defences defences-{names} -->\n<!-- end -->").splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("| MNIST | 1 ")]
    best = {}
    for run in ("jacobian", "universal", "equal_time-universal"):
        summary = pd.read_csv(ROOT / "results" / "reference" / f"defences-{run}" / "metrics" / "summary.csv")
        here = summary[(summary["dataset"] == "mnist") & (summary["members"] == 1)]
        best[run] = 100 * here["weighted_accuracy"].max()
    assert [row[2] for row in rows] == ["jacobian", "universal"]
    assert rows[0][8:] == ["–", "–"]
    assert rows[1][8].startswith(f"{best['universal'] - best['jacobian']:+.1f} [")
    assert rows[1][9].startswith(f"{best['equal_time-universal'] - best['jacobian']:+.1f} [")


def test_certified_accuracy_stands_beside_what_attacks_left_at_each_eps():
    lines = fill.filled("<!-- certified certified-jacobian -->\n<!-- end -->").splitlines()
    header, _, *rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("|")]
    assert header[:5] == ["dataset", "trained with", "strength", "M", "clean"]
    assert header[5:] == ["ε=0.10", "ε=0.15", "ε=0.20", "ε=0.25", "mean width"]
    assert [row[:4] for row in rows[:2]] == [["MNIST", "plain", "0", "1"], ["MNIST", "plain", "0", "3"]]
    metrics = pd.read_csv(ROOT / "results/reference/certified-jacobian/metrics/metrics.csv")
    means = metrics.groupby(["dataset", "lambda", "members", "eps"])[["certified_accuracy", "worst_accuracy"]].mean()
    proved, left = 100 * means.loc[("fashion_mnist", 0.4, 3, 0.25)]
    assert rows[-1][2:4] == ["0.4", "3"]
    assert rows[-1][-2] == f"{proved:.1f} to {left:.1f}"
    here = metrics.query("dataset == 'fashion_mnist' and `lambda` == 0.4 and members == 3")
    assert rows[-1][-1] == f"{100 * (here['worst_accuracy'] - here['certified_accuracy']).mean():.1f}"


@pytest.mark.parametrize(
    ("verdict", "kept", "shown"),
    [("better", True, ", better*"), ("worse", False, ", worse"), ("no difference found", True, "")],
)
def test_a_star_marks_what_survives_the_correction(verdict, kept, shown):
    row = {"difference": 0.1, "difference_low": 0.05, "difference_high": 0.15, "verdict": verdict, "kept": kept}
    assert run_tables._difference(pd.Series(row)) == f"+10.0 [+5.0, +15.0]{shown}"


def test_the_site_has_a_place_for_every_page_and_copies_the_pictures(tmp_path, monkeypatch):
    monkeypatch.setattr(prepare, "PAGES", tmp_path)
    prepare.main()
    named = re.findall(r'"([\w/-]+\.md)"', (ROOT / ".zensical.toml").read_text())
    assert sorted(named) == sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.md"))
    pictures = re.findall(r"!\[[^]]*\]\(([^)]+)\)", (tmp_path / "reproduction.md").read_text())
    assert pictures
    assert all((tmp_path / picture).is_file() for picture in pictures)
    for name in ("grid", "table1"):
        assert f"](runs/{name}.html)" in (tmp_path / "index.md").read_text()
        assert f"](../runs/{name}.html)" in (tmp_path / "reference" / "tables.md").read_text()
        assert "The answer" in (tmp_path / "runs" / f"{name}.html").read_text()
    assert "## `jacobian-ensembles train`" in (tmp_path / "reference" / "command-line.md").read_text()


@pytest.mark.browser
@pytest.mark.skipif(not shutil.which("chromium"), reason="no chromium (Debian: apt-get install chromium)")
def test_the_picture_of_the_page_is_drawn_from_what_is_shipped(tmp_path):
    page_image.draw(tmp_path / "page.png")
    with Image.open(tmp_path / "page.png") as drawn, Image.open(ROOT / "docs/images/page.png") as kept:
        assert drawn.size == kept.size == page_image.SIZE
        assert len(drawn.convert("RGB").getcolors(256)) > 20  # not a blank page


def test_a_page_without_a_place_and_a_link_out_to_nothing_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(prepare, "ROOT", tmp_path)
    monkeypatch.setattr(prepare, "PAGES", tmp_path / "pages")
    (tmp_path / ".zensical.toml").write_text('[project]\nnav = [{ "A" = "a.md" }]\n')
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text("See [the license](../LICENSE).")
    with pytest.raises(FileNotFoundError, match=r"docs/a\.md: \.\./LICENSE is not in the repository"):
        prepare.main()
    (tmp_path / "LICENSE").write_text("free")
    prepare.main()
    assert (tmp_path / "pages" / "a.md").read_text() == "See the license (`LICENSE`)."
    (tmp_path / "docs" / "b.md").write_text("lost")
    with pytest.raises(ValueError, match=r"docs/b\.md has no place in the navigation"):
        prepare.main()


def test_help_and_reference_list_the_public_names():
    listed = re.findall(r"^(\w+) {2,}\S", je.__doc__, re.MULTILINE)
    assert sorted(listed) == sorted(je.PUBLIC)
    shown = re.findall(
        r"^::: jacobian_ensembles\.([\w.]+)\.(\w+)$", (ROOT / "docs/reference/library.md").read_text(), re.M
    )
    assert {name: module for module, name in shown} == je.PUBLIC
