"""The article is written from shipped results: every number in it is theirs, and LaTeX takes it where there is one."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "docs"))

import article  # noqa: E402


@pytest.fixture(scope="module")
def text():
    return article.article()[0]


def test_table_1_has_both_numbers_of_every_model(text):
    table = pd.read_csv(ROOT / "results/reference/table1/tables/comparison.csv")
    rows = re.findall(r"^(?:MNIST|Fashion-MNIST), .* & .*", text, re.MULTILINE)
    assert len(rows) == len(table) == 12
    for line, row in zip(rows, table.to_dict("records"), strict=True):
        cells = [cell.strip() for cell in line.removesuffix("\\\\").split("&")]
        assert float(cells[3]) == row["paper_avg_uap"]
        assert float(cells[4].split(" [")[0]) == pytest.approx(row["our_avg_uap"], abs=0.051)


def test_every_claim_has_its_verdict(text):
    claims = pd.read_csv(ROOT / "results/reference/grid/tables/claims.csv")
    for claim, verdict in zip(claims["claim"], claims["verdict"], strict=True):
        assert re.search(rf"^{claim} & .* & {verdict} & ", text, re.MULTILINE)


def test_what_it_cites_is_in_its_bibliography(text):
    cited = set(re.findall(r"\\cite\{(.*?)\}", text))
    assert cited == set(re.findall(r"\\bibitem\{(.*?)\}", text))
    assert len(cited) == 9


def test_its_sections_are_those_that_venues_ask_for(text):
    sections = re.findall(r"\\section\{(.*?)\}", text)
    assert sections[:3] == ["Scope of the reproduction", "Methods", "Results"]
    assert {"What was easy", "What was hard"} <= set(sections)


def test_text_becomes_latex():
    assert article.tex("50% of λ_1 & “more”") == r"50\% of $\lambda$\_1 \& ``more''"
    with pytest.raises(ValueError, match="no LaTeX for ☃"):
        article.tex("☃")


def test_latex_makes_a_pdf_of_it(tmp_path):
    if shutil.which("pdflatex") is None:
        pytest.skip("no pdflatex (Debian: apt-get install texlive-latex-recommended lmodern)")
    # what the article loads, on a page of its own: LaTeX may be there without its packages or fonts
    head = article.article()[0].partition(r"\begin{document}")[0]
    (tmp_path / "trial.tex").write_text(head + r"\begin{document}$\lambda$ \textbf{a} \texttt{b}\end{document}")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "trial.tex"]
    if subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode:
        pytest.skip("pdflatex lacks packages or fonts (Debian: apt-get install texlive-latex-recommended lmodern)")
    path = article.main(tmp_path)
    assert path.read_bytes().startswith(b"%PDF")
    log = (tmp_path / "article.log").read_text(errors="replace")
    assert "undefined" not in log
