"""Hooks of the documentation build: pages the navigation does not name, links out of docs/, the command line's help."""

import os
import re
from pathlib import Path

from mkdocs.structure.files import File

os.environ["COLUMNS"] = "100"  # the width argparse wraps its help to
ROOT = Path(__file__).resolve().parents[1]
_LINK = re.compile(r"(!?)\[([^\]]+)\]\((\.\./[^)#\s]+)(#[^)\s]*)?\)")


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
    """Pictures outside docs/ are taken into the site; other links out of it become plain text. All must exist."""

    def plain(link):
        picture, text, path, _ = link.groups()
        target = (Path(page.file.abs_src_path).parent / path).resolve()
        if target.is_relative_to(ROOT / "docs"):
            return link[0]
        if not target.exists():
            raise FileNotFoundError(f"{page.file.src_uri}: {path} is not in the repository.")
        name = str(target.relative_to(ROOT))
        if picture:
            if files.get_file_from_path(name) is None:
                files.append(File.generated(config, name, abs_src_path=str(target)))
            return f"![{text}]({'../' * page.file.src_uri.count('/')}{name})"
        return text if text.startswith("`") else f"{text} (`{name}`)"

    return _LINK.sub(plain, markdown).replace("<!-- help -->", _help() if "<!-- help -->" in markdown else "")


def _help():
    from jacobian_ensembles.cli.main import parser

    top = parser()
    commands = next(action for action in top._actions if action.dest == "command").choices
    texts = [("jacobian-ensembles", top), *((f"jacobian-ensembles {name}", p) for name, p in commands.items())]
    return "\n\n".join(f"## `{name}`\n\n```text\n{p.format_help()}```" for name, p in texts)
