"""What the documents say of shipped results is what the shipped files say."""

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "docs"))

import fill  # noqa: E402

PAGES = [str(page.relative_to(ROOT)) for page in fill.pages()]


@pytest.mark.parametrize("page", PAGES)
def test_quoted_tables_and_code_are_those_of_their_files(page):
    text = (ROOT / page).read_text()
    assert fill.filled(text) == text, "run: python docs/fill.py"


@pytest.mark.parametrize("page", PAGES)
def test_no_marker_is_misspelt(page):
    text = (ROOT / page).read_text()
    assert text.count("<!-- end -->") == len(re.findall(r"<!-- (?:table|code) \S+(?: columns [\d ]+)? -->\n", text))
    included = re.findall(r"^.*\b8 ?<.*$", text, re.MULTILINE)  # mkdocs' own inclusion, where a page uses it
    assert all(re.fullmatch(r'--8<-- "[\w./-]+(:\d+)?"', line) for line in included)


@pytest.mark.parametrize("page", PAGES)
def test_pictures_and_files_that_a_page_links_to_are_there(page):
    text = re.sub(r"```.*?```|`[^`\n]*`", "", (ROOT / page).read_text(), flags=re.DOTALL)
    links = re.findall(r"\]\(([^)#\s]+)", text)
    missing = [link for link in links if "://" not in link and not ((ROOT / page).parent / link).exists()]
    assert not missing


def test_columns_are_chosen_and_what_was_there_is_replaced(tmp_path, monkeypatch):
    monkeypatch.setattr(fill, "ROOT", tmp_path)
    (tmp_path / "t.md").write_text("A note.\n\n| a | b | c |\n| --- | --- | --- |\n| 1 | 2 | 3 |\n\n*From x.*\n")
    page = "before\n<!-- table t.md columns 0 2 -->\nold\n<!-- end -->\nafter\n"
    expected = "| a | c |\n| --- | --- |\n| 1 | 3 |"
    assert fill.filled(page) == f"before\n<!-- table t.md columns 0 2 -->\n\n{expected}\n\n<!-- end -->\nafter\n"
    assert fill.filled(fill.filled(page)) == fill.filled(page)
