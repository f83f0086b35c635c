"""Put shipped tables into the pages that quote them, so that no number is copied by hand: python docs/fill.py.

A page has ``<!-- table PATH -->`` before a table and ``<!-- end -->`` after it; PATH is a Markdown file of the
repository. ``<!-- table PATH columns 0 2 -->`` takes some of its columns. A test fails where a page is not up to date.
"""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_TABLE = re.compile(r"(<!-- table (\S+)(?: columns ([\d ]+?))? -->\n).*?(<!-- end -->)", re.DOTALL)


def filled(text: str) -> str:
    """A page's text with every marked table taken anew from its file."""

    def table(match: re.Match[str]) -> str:
        opening, path, columns, closing = match.groups()
        rows = [line for line in (ROOT / path).read_text().splitlines() if line.startswith("|")]
        if columns:
            cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
            rows = [f"| {' | '.join(row[int(i)] for i in columns.split())} |" for row in cells]
        return opening + "\n" + "\n".join(rows) + "\n\n" + closing

    return _TABLE.sub(table, text)


def pages() -> list[Path]:
    """The pages that may quote tables."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


if __name__ == "__main__":
    for page in pages():
        page.write_text(filled(page.read_text()))
