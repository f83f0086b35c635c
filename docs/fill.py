"""Put shipped tables and example files into the pages that quote them, so that none is copied by hand.

    python docs/fill.py

A page has ``<!-- table PATH -->`` or ``<!-- code PATH -->`` before such a piece and ``<!-- end -->`` after it; PATH is
a file of the repository. ``<!-- table PATH columns 0 2 -->`` takes some columns of a Markdown table. A test fails
where a page is not up to date.
"""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_PIECE = re.compile(r"(<!-- (table|code) (\S+)(?: columns ([\d ]+?))? -->\n).*?(<!-- end -->)", re.DOTALL)


def filled(text: str) -> str:
    """A page's text with every marked piece taken anew from its file."""

    def piece(match: re.Match[str]) -> str:
        opening, kind, path, columns, closing = match.groups()
        content = (ROOT / path).read_text()
        language = {".py": "python"}.get(Path(path).suffix, "yaml")
        shown = f"```{language}\n{content}```" if kind == "code" else _table(content, columns)
        return f"{opening}\n{shown}\n\n{closing}"

    return _PIECE.sub(piece, text)


def _table(content: str, columns: str | None) -> str:
    rows = [line for line in content.splitlines() if line.startswith("|")]
    if columns:
        cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
        rows = [f"| {' | '.join(row[int(i)] for i in columns.split())} |" for row in cells]
    return "\n".join(rows)


def pages() -> list[Path]:
    """The pages that may quote tables."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


if __name__ == "__main__":
    for page in pages():
        page.write_text(filled(page.read_text()))
