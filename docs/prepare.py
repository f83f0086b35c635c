"""Prepare the pages of the documentation site, below build/pages; ``make docs`` then has Zensical build the site.

    python docs/prepare.py

A site that is opened from disk has no repository around it: pictures outside docs/ are copied beside the pages, a link
to a shipped run's folder leads to the run's page, which is made, and other links out of docs/ become plain text. All
must exist. The command line's help is put in where a page asks for it.
"""

import os
import re
import shutil
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = ROOT / "build" / "pages"
_COPIED = ("*.md", "*.js", "*.css", "*.png", "*.svg", "examples/*.py", "notebooks/*.ipynb")
_LINK = re.compile(r"(!?)\[([^\]]+)\]\((\.\./[^)#\s]+)(#[^)\s]*)?\)")


def prepared(page: Path) -> str:
    """The text of a page as the site has it.

    Raises:
        FileNotFoundError: If a link out of docs/ leads nowhere.
    """

    def outside(link: re.Match[str]) -> str:
        picture, text, path, _ = link.groups()
        target = (page.parent / path).resolve()
        if target.is_relative_to(ROOT / "docs"):
            return link[0]
        if not target.exists():
            raise FileNotFoundError(f"{page.relative_to(ROOT)}: {path} is not in the repository.")
        name = target.relative_to(ROOT)
        top = "../" * (len(page.relative_to(ROOT).parts) - 2)
        if target.parent == ROOT / "results" / "reference" and target.is_dir():
            return f"[{text}]({top}{page_of_run(target).relative_to(PAGES)})"
        if not picture:
            return text if text.startswith("`") else f"{text} (`{name}`)"
        (PAGES / name.parent).mkdir(parents=True, exist_ok=True)
        shutil.copy(target, PAGES / name)
        return f"![{text}]({top}{name})"

    return _LINK.sub(outside, page.read_text(encoding="utf-8")).replace("<!-- help -->", _help())


def page_of_run(folder: Path) -> Path:
    """The page of a shipped run, made when it is first asked for."""
    from jacobian_ensembles.stages.write_report import write_report

    path = PAGES / "runs" / f"{folder.name}.html"
    if not path.is_file():
        write_report(folder, path)
    return path


def _help() -> str:
    from jacobian_ensembles.cli.parser import parser

    os.environ["COLUMNS"] = "100"  # the width argparse wraps its help to
    top = parser()
    commands = next(action for action in top._actions if action.dest == "command").choices
    texts = [("jacobian-ensembles", top), *((f"jacobian-ensembles {name}", p) for name, p in commands.items())]
    return "\n\n".join(f"## `{name}`\n\n```text\n{p.format_help()}```" for name, p in texts)


def main() -> None:
    """Write all pages anew.

    Raises:
        ValueError: If the navigation lacks a page.
    """
    shutil.rmtree(PAGES, ignore_errors=True)
    navigation = str(tomllib.loads((ROOT / ".zensical.toml").read_text(encoding="utf-8"))["project"]["nav"])
    for path in sorted(found for pattern in _COPIED for found in (ROOT / "docs").rglob(pattern)):
        name = path.relative_to(ROOT / "docs")
        (PAGES / name).parent.mkdir(parents=True, exist_ok=True)
        if path.suffix != ".md":
            shutil.copy(path, PAGES / name)
        elif f"'{name}'" not in navigation:
            raise ValueError(f"docs/{name} has no place in the navigation. Give it one in .zensical.toml.")
        else:
            (PAGES / name).write_text(prepared(path), encoding="utf-8")


if __name__ == "__main__":
    main()
