from pathlib import Path

import yaml

from jacobian_ensembles.report.citing import PAPER, SOFTWARE, bibtex, citations

ROOT = Path(__file__).resolve().parents[3]


def test_an_entry_by_hand():
    reference = {
        "type": "article",
        "title": "Fire: a Study",
        "year": 1998,
        "journal": "Proceedings",
        "issue": 11,
        "start": 5,
        "end": 9,
        "authors": [{"family-names": "Le Feu", "given-names": "Ann"}, {"name": "The Others"}],
        "identifiers": [{"type": "other", "value": "arXiv:1234.5678"}],
    }
    assert bibtex(reference) == (
        "@article{feu1998fire,\n"
        "  title = {{Fire: a Study}},\n"
        "  author = {Le Feu, Ann and {The Others}},\n"
        "  journal = {Proceedings},\n"
        "  number = {11},\n"
        "  pages = {5--9},\n"
        "  year = {1998},\n"
        "  eprint = {1234.5678},\n"
        "  archiveprefix = {arXiv},\n"
        "}"
    )


def test_a_run_is_cited_with_its_version_and_commits():
    text = citations("7.8", ["abc", "def-dirty"])
    assert "version = {7.8}" in text
    assert "note = {Commit abc, def-dirty}" in text
    assert "note" not in citations("7.8", [])


def test_the_page_cites_what_citation_cff_names():
    cff = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert bibtex(PAPER) == bibtex(cff["preferred-citation"]) == bibtex(cff["references"][0])
    assert {key: cff[key] for key in SOFTWARE} == SOFTWARE


def test_every_key_of_the_references_is_one_of_its_own():
    cff = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    keys = [bibtex(reference).partition(",")[0] for reference in cff["references"]]
    assert len(set(keys)) == len(keys) == 9
