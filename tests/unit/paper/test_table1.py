import re

import pandas as pd
import pytest

from jacobian_ensembles.paper.comparison import compare_with_paper
from jacobian_ensembles.paper.labels import run_note
from jacobian_ensembles.paper.published import paper_table1
from jacobian_ensembles.paper.table1 import select_table1, table1_latex
from jacobian_ensembles.stages.write_table import write_table


def summary(*models):
    rows = []
    for dataset, ensemble, members, lam, clean, uap in models:
        rows.append(
            {"dataset": dataset, "ensemble": ensemble, "members": members, "lambda": lam, "clean_accuracy": clean,
             "mean_uap_accuracy": uap, "weighted_accuracy": (clean + uap) / 2, "eps_values": 4, "seeds": 50,
             "images": 10_000, "repetitions": 1}
        )  # fmt: skip
        for stem in ("clean", "mean_uap", "weighted"):
            middle = rows[-1][f"{stem}_accuracy"]
            rows[-1] |= {f"{stem}_low": middle - 0.01, f"{stem}_high": middle + 0.02}
    return pd.DataFrame(rows)


MNIST = summary(
    ("mnist", "voting", 1, 0.0, 0.99, 0.31),
    ("mnist", "bagging", 1, 0.0, 0.98, 0.33),
    ("mnist", "voting", 1, 0.05, 0.98, 0.74),
    ("mnist", "voting", 1, 0.5, 0.96, 0.70),
    ("mnist", "bagging", 6, 0.0, 0.99, 0.43),
    ("mnist", "voting", 3, 0.0, 0.99, 0.20),
    ("mnist", "snapshot", 3, 0.5, 0.978, 0.828),
    ("mnist", "snapshot", 9, 0.5, 0.977, 0.823),
    ("mnist", "snapshot", 3, 0.2, 0.983, 0.815),
)


def names(table):
    return [(r.group, r.ensemble, r.members, r.lam) for r in table.rename(columns={"lambda": "lam"}).itertuples()]


def test_rows_are_chosen_by_the_papers_rule():
    assert names(select_table1(MNIST)) == [
        ("best", "snapshot", 3, 0.5),
        ("best", "snapshot", 9, 0.5),
        ("best", "snapshot", 3, 0.2),
        ("jr_only", "voting", 1, 0.05),
        ("ensemble_only", "bagging", 6, 0.0),
        ("standard", "bagging", 1, 0.0),
    ]


def test_a_model_may_be_best_overall_and_best_of_its_group():
    table = select_table1(MNIST[MNIST["members"] == 1])
    assert names(table) == [
        ("best", "voting", 1, 0.05),
        ("best", "voting", 1, 0.5),
        ("best", "bagging", 1, 0.0),
        ("jr_only", "voting", 1, 0.05),
        ("standard", "bagging", 1, 0.0),
    ]


def test_equals_are_ordered_by_fewer_members_then_lambda_then_name():
    equal = [("mnist", "voting", 3, 0.1, 0.9, 0.5), ("mnist", "bagging", 3, 0.1, 0.9, 0.5)]
    equal += [("mnist", "voting", 1, 0.2, 0.9, 0.5), ("mnist", "voting", 1, 0.1, 0.9, 0.5)]
    best = names(select_table1(summary(*equal)))[:3]
    assert best == [("best", "voting", 1, 0.1), ("best", "voting", 1, 0.2), ("best", "bagging", 3, 0.1)]


def test_datasets_follow_the_papers_order():
    fashion = MNIST.assign(dataset="fashion_mnist")
    assert select_table1(pd.concat([fashion, MNIST]))["dataset"].tolist() == ["mnist"] * 6 + ["fashion_mnist"] * 6


def test_the_papers_two_rows_that_do_not_add_up_are_marked_and_no_others():
    paper = paper_table1()
    odd = paper[~paper["adds_up"]]
    assert len(paper) == 12
    assert odd[["dataset", "ensemble", "weighted", "mean"]].to_numpy().tolist() == [
        ["fashion_mnist", "bagging", 51.2, pytest.approx(51.95)],
        ["fashion_mnist", "none", 50.9, pytest.approx(51.45)],
    ]


def test_comparison_sets_our_model_beside_each_row():
    table = compare_with_paper(MNIST).set_index(["dataset", "ensemble", "members", "lambda"])
    assert len(table) == 12
    ours = table.loc["mnist", "snapshot", 3, 0.5]
    assert (ours["paper_clean"], ours["our_clean"], ours["difference_clean"]) == (97.8, 97.8, 0)
    assert (ours["our_avg_uap_low"], ours["our_avg_uap_high"]) == (81.8, 84.8)
    single = table.loc["mnist", "voting", 1, 0.0]  # the paper's standard model
    assert (single["paper_avg_uap"], single["our_avg_uap"], single["difference_avg_uap"]) == (31.9, 31.0, -0.9)
    assert table.loc["fashion_mnist"]["our_clean"].isna().all()


def test_latex_is_balanced_and_every_row_has_seven_columns():
    latex = table1_latex(select_table1(MNIST), "QUICK_RUN: 50 % & more.")
    assert re.findall(r"\\begin\{(\w+)\}", latex) == ["table", "tabular"]
    assert re.findall(r"\\end\{(\w+)\}", latex) == ["tabular", "table"]
    assert r"QUICK\_RUN: 50 \% \& more." in latex
    body = [line for line in latex.splitlines() if line.endswith(r"\\")]
    assert len(body) == 2 + 6
    spans = [sum(int(n) - 1 for n in re.findall(r"\\multicolumn\{(\d)", line)) for line in body]
    assert {line.count("&") + span for line, span in zip(body, spans, strict=True)} == {6}
    assert latex.startswith("% Needs \\usepackage{booktabs}.\n")
    interval = "{{\\tiny[{}, {}]}}".format
    shown = f"98.0 {interval('97.0', '100.0')} & 74.0 {interval('73.0', '76.0')} & 86.0 {interval('85.0', '88.0')}"
    assert f"JR only & Voting & 1 & 0.05 & {shown} \\\\" in latex
    assert "In brackets: 95\\% intervals over test images." in latex


def test_latex_has_intervals_only_where_the_run_has_them_and_a_label_of_the_run():
    trained = select_table1(MNIST.assign(repetitions=3))
    latex = table1_latex(trained, "", "my_run", 0.9)
    assert "In brackets: 90\\% intervals over trainings." in latex
    assert "\\label{tab:table1-my_run}" in latex
    without = trained[[column for column in trained if not column.endswith(("_low", "_high"))]]
    latex = table1_latex(without, "")
    assert "rackets" not in latex
    assert "JR only & Voting & 1 & 0.05 & 98.0 & 74.0 & 86.0 \\\\" in latex


def test_files_name_the_run_and_its_banner(tmp_path):
    MNIST.to_csv(tmp_path / "summary.csv", index=False)
    labels = {"run": "mine", "banner": "QUICK", "settings": {}}
    for name, stem in (("table1", "t"), ("comparison", "c")):
        files = [tmp_path / f"{stem}.{kind}" for kind in ("csv", "md", "tex")]
        write_table(name, {"summary": tmp_path / "summary.csv"}, *files, **labels)
    assert not (tmp_path / "c.tex").exists()
    for name in ("t.tex", "t.csv", "t.md", "c.csv", "c.md"):
        text = (tmp_path / name).read_text()
        assert "mine" in text, name
        assert "QUICK" in text, name
    for name in ("t.md", "c.md"):
        widths = {line.count("|") for line in (tmp_path / name).read_text().splitlines() if line.startswith("|")}
        assert len(widths) == 1
    assert "(91.2 + 12.7)/2 = 51.95, printed 51.2" in (tmp_path / "c.md").read_text()
    assert "| 82.8 | 82.8 [81.8, 84.8] | +0.0 |" in (tmp_path / "c.md").read_text()
    assert pd.read_csv(tmp_path / "t.csv")["clean_accuracy"].max() <= 1


def test_the_note_counts_what_the_numbers_rest_on():
    assert run_note(MNIST, "paper", "") == "Run 'paper', worst of 50 attack seeds, 4 eps values, 10,000 test images."
    five = MNIST.assign(repetitions=5)
    assert run_note(five, "x", "").startswith("Run 'x', mean of 5 trainings, worst of 50 attack seeds")
    five.loc[0, "repetitions"] = 1
    assert "mean of 1 to 5 trainings" in run_note(five, "x", "")
    one = MNIST.assign(seeds=1, eps_values=1, images=500)
    assert run_note(one, "x", "SMOKE") == "SMOKE: run 'x', one attack seed, 1 eps value, 500 test images."


BOTH = pd.concat([MNIST, MNIST.assign(dataset="fashion_mnist")], ignore_index=True)


def test_latex_of_two_datasets_holds_together():
    latex = table1_latex(select_table1(BOTH), "100 % of run_1 #2 & $")
    opened = []
    for kind, name in re.findall(r"\\(begin|end)\{(\w+)\}", latex):
        if kind == "begin":
            opened.append(name)
        else:
            assert opened.pop() == name
    assert opened == []
    assert latex.count("{") == latex.count("}")
    assert latex.index("{MNIST accuracy") < latex.index("{Fashion-MNIST accuracy")
    text = re.sub(r"\$\\lambda_\{\\mathrm\{JR\}\}\$", "", latex.partition("\n")[2])  # the first line is a comment
    caption = next(line for line in text.splitlines() if line.startswith("\\caption"))
    assert re.search(r"(?<!\\)[%#_&$]", caption) is None
    assert re.search(r"(?<!\\)[%#_$]", text) is None
    for line in (line for line in text.splitlines() if line.endswith(r"\\")):
        spans = sum(int(n) - 1 for n in re.findall(r"\\multicolumn\{(\d)", line))
        assert len(re.findall(r"(?<!\\)&", line)) + 1 + spans == 7


@pytest.mark.parametrize("banner", ["see }", r"C:\new", "a^b", "a { b"])
def test_a_banner_cannot_break_the_document(banner):
    caption = next(line for line in table1_latex(select_table1(MNIST), banner).splitlines() if "caption" in line)
    assert banner not in caption


def test_a_small_lambda_is_not_printed_as_zero():
    rows = summary(("mnist", "voting", 1, 0.0, 0.99, 0.3), ("mnist", "voting", 1, 0.001, 0.99, 0.4))
    latex = table1_latex(select_table1(rows), "")
    assert "JR only & Voting & 1 & 0.00 &" not in latex


def test_differences_are_ours_minus_the_papers():
    rows = summary(("mnist", "snapshot", 3, 0.5, 0.9712, 0.80), ("fashion_mnist", "voting", 1, 0.1, 0.80, 0.33))
    table = compare_with_paper(rows).set_index(["dataset", "ensemble", "members", "lambda"])
    got = table.loc["mnist", "snapshot", 3, 0.5]
    # 97.12 - 97.8, 80.0 - 82.8, 88.56 - 90.3
    assert [got[f"difference_{c}"] for c in ("clean", "avg_uap", "weighted")] == [-0.68, -2.8, -1.74]
    got = table.loc["fashion_mnist", "voting", 1, 0.1]
    # 80 - 79, 33 - 31.2, 56.5 - 55.1
    assert [got[f"difference_{c}"] for c in ("clean", "avg_uap", "weighted")] == [1.0, 1.8, 1.4]
    assert table["our_weighted"].notna().sum() == 2
