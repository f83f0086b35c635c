"""Hooks of the documentation build: pages the navigation does not name, links out of docs/, the command line's help."""

import os
import re
from pathlib import Path

os.environ["COLUMNS"] = "100"  # the width argparse wraps its help to
ROOT = Path(__file__).resolve().parents[1]
_LINK = re.compile(r"\[([^\]]+)\]\((\.\./[^)#\s]+)(#[^)\s]*)?\)")


def on_nav(nav, config, files):
    """Add to the explanations every page directly in docs/ that the navigation does not name."""
    named = {page.file.src_uri for page in nav.pages}
    section = next(item for item in nav.items if item.title == "Explanation")
    for file in sorted(files.documentation_pages(), key=lambda f: f.src_uri):
        if file.src_uri not in named and "/" not in file.src_uri:
            section.children.append(file.page)
            file.page.parent = section
            nav.pages.append(file.page)


def on_page_markdown(markdown, page, config, files):
    """Links to files of the repository outside docs/ become plain text; one to a file that is not there is an error."""

    def plain(link):
        target = (Path(page.file.abs_src_path).parent / link[2]).resolve()
        if target.is_relative_to(ROOT / "docs"):
            return link[0]
        if not target.exists():
            raise FileNotFoundError(f"{page.file.src_uri}: {link[2]} is not in the repository.")
        return link[1] if link[1].startswith("`") else f"{link[1]} (`{target.relative_to(ROOT)}`)"

    return _LINK.sub(plain, markdown).replace("<!-- help -->", _help() if "<!-- help -->" in markdown else "")


def _help():
    from jacobian_ensembles.cli import parser

    top = parser()
    commands = next(action for action in top._actions if action.dest == "command").choices
    texts = [("jacobian-ensembles", top), *((f"jacobian-ensembles {name}", p) for name, p in commands.items())]
    return "\n\n".join(f"## `{name}`\n\n```text\n{p.format_help()}```" for name, p in texts)
