"""Put shipped tables and example files into the pages that quote them, so that none is copied by hand.

    python docs/fill.py

A page has ``<!-- KIND WHAT -->`` before such a piece and ``<!-- end -->`` after it. Under every table a line names the
files and the commits that it is from. A test fails where a page is not up to date. PATH is a file of the repository:

``table PATH``           a Markdown table; ``part 2``: the file's second; ``columns 0 2 rows 1 3``: some of it
``code PATH``            a file of code
``bibtex CITATION.cff``  this software and what the file names; ``rows 0 1``: the first two of them
``speed PATH``           a record of benchmarks/speed.py; ``gpu PATH``: of benchmarks/gpu.py; ``rows 0 1``: some of it

NAME is a shipped run, and NAMES are several, with commas between them:

``claims NAME``          a line for each of the paper's claims: the verdict, and the effect that decides it
``attacks NAME``         the effects of the claims that another attack changes by a point
``gains NAME``           what ensembles add under attack, to which single network, at which eps
``key NAME``             networks without and with regularisation, one and nine of them, with intervals over trainings
``grid NAME``            accuracies of every model, with a column per lambda; ``runs NAMES``: with a column per run
``origins NAMES``        what made the runs
``models NAME``          the ensembles that a run keeps
``defences NAMES``       each run's best strength beside the first's; runs named ``NAME-equal_time-...`` add a column
``gain NAMES``           what ensembles add to each
``take NAMES``           the three most robust at each eps, of those that cost little clean accuracy
``certified NAMES``      what is certified and what attacks left, at each eps
``decorrelation NAMES``  ensembles of learners trained together beside those of the first run
"""

import json
import re
from collections.abc import Iterable
from os.path import commonprefix
from pathlib import Path

import pandas as pd
import yaml
from run_tables import TABLES

from jacobian_ensembles.paper.labels import markdown_table as to_markdown
from jacobian_ensembles.report.citing import bibtex
from jacobian_ensembles.runs.provenance import short_commit
from jacobian_ensembles.runs.run import Run

ROOT = Path(__file__).resolve().parents[1]
PIECE = re.compile(
    r"(<!-- ((?!end\b)[a-z]+) (\S+)(?: part (\d+))?(?: columns ([\d ]+?))?(?: rows ([\d ]+?))? -->\n).*?(<!-- end -->)",
    re.DOTALL,
)


def filled(text: str) -> str:
    """A page's text with every marked piece taken anew from its file."""

    def piece(match: re.Match[str]) -> str:
        opening, kind, path, part, columns, rows, closing = match.groups()
        if kind in TABLES:
            table, files = TABLES[kind]
            names = path.split(",")
            source = _source([f"{_folder(names)}/{file}" for file in files], names)
            shown = f"{table([_shipped(name) for name in names])}\n\n{source}"
        elif kind == "bibtex":
            shown = f"```bibtex\n{_bibtex((ROOT / path).read_text(encoding='utf-8'), rows)}\n```"
        elif kind == "code":
            language = {".py": "python"}.get(Path(path).suffix, "yaml")
            shown = f"```{language}\n{(ROOT / path).read_text(encoding='utf-8')}```"
        elif kind in _OF_RECORDS:
            record = json.loads((ROOT / path).read_text(encoding="utf-8"))
            measured = list(record["rows"].items())
            chosen = dict(measured[int(i)] for i in rows.split()) if rows else record["rows"]
            shown = f"{_OF_RECORDS[kind](chosen)}\n\n*From `{path}`, commit `{record['machine']['commit']}`.*"
        elif kind != "table":
            raise ValueError(f"docs/fill.py knows no {kind!r}. Use one of: {', '.join(KINDS)}.")
        else:
            table = _table((ROOT / path).read_text(encoding="utf-8"), columns, rows, int(part or 1))
            shown = f"{table}\n\n{_source([path], [Path(path).parent.parent.name])}"
        return f"{opening}\n{shown}\n\n{closing}"

    return PIECE.sub(piece, text)


def _folder(runs: list[str]) -> str:
    """The shipped folder of one run; of several, what all of them are called, with a star."""
    return f"results/reference/{commonprefix(runs)}{'*' * (len(runs) > 1)}"  # noqa: RUF071 - of names, not of paths


def _source(files: Iterable[str], runs: Iterable[str]) -> str:
    """The line under a table: where its numbers are, and at which commits they were made."""
    commits = sorted({commit for run in runs for commit in Run.open(_shipped(run)).made["commit"]})
    named = ", ".join(f"`{short_commit(commit, 7)}`" for commit in commits)
    return f"*From {', '.join(f'`{file}`' for file in files)}, commit{'s' * (len(commits) > 1)} {named}.*"


def _shipped(run: str) -> Path:
    return ROOT / "results" / "reference" / run


def _speed(rows: dict) -> str:
    return _measurements(
        {
            "operation": name,
            "plain, ms": f"{1000 * r['plain_s']:.1f}",
            "ours, ms": f"{1000 * r['ours_s']:.1f}",
            "ratio (range)": f"**{r['ratio']:.2f}** ({r['ratio_low']:.2f}–{r['ratio_high']:.2f})",
        }
        for name, r in rows.items()
    )


def _gpu(rows: dict) -> str:
    return _measurements(
        {
            "operation": name,
            "one core, ms": f"{1000 * r['core_s']:.0f}",
            "GPU, ms": f"{1000 * r['gpu_s']:.0f}",
            "core / GPU (range)": f"**{r['core']:.1f}** ({r['core_low']:.1f}–{r['core_high']:.1f})",
            "plain PyTorch / ours": f"{r['plain']:.1f}" if "plain" in r else "–",
        }
        for name, r in rows.items()
    )


def _measurements(rows: Iterable[dict[str, str]]) -> str:
    return to_markdown(pd.DataFrame(rows)).rstrip()


_OF_RECORDS = {"speed": _speed, "gpu": _gpu}
KINDS = ("table", "code", "bibtex", *_OF_RECORDS, *TABLES)


def _table(content: str, columns: str | None, chosen: str | None, part: int = 1) -> str:
    tables = re.findall(r"^\|.*(?:\n\|.*)*", content, re.MULTILINE)
    rows = tables[part - 1].splitlines()
    if chosen:
        rows = [*rows[:2], *(rows[2 + int(i)] for i in chosen.split())]
    if columns:
        cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
        rows = [f"| {' | '.join(row[int(i)] for i in columns.split())} |" for row in cells]
    return "\n".join(rows)


def _bibtex(citation: str, chosen: str | None = None) -> str:
    """This software, and the references of a CITATION.cff."""
    cff = yaml.safe_load(citation)
    own = {key: cff[key] for key in ("type", "title", "authors", "version")} | {"year": str(cff["date-released"])[:4]}
    entries = [own, *cff["references"]]
    return "\n\n".join(bibtex(entries[int(i)]) for i in (chosen.split() if chosen else range(len(entries))))


def pages() -> list[Path]:
    """The pages that may quote tables."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


if __name__ == "__main__":
    for page in pages():
        page.write_text(filled(page.read_text(encoding="utf-8")), encoding="utf-8")
