"""How to cite a run: BibTeX of the paper and of this software at the commits that made the run."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

#: The paper that is reproduced, as CITATION.cff has it.
PAPER: dict[str, Any] = {
    "type": "article",
    "title": "Jacobian Ensembles Improve Robustness Trade-offs to Adversarial Attacks",
    "year": 2022,
    "authors": [
        {"family-names": "Co", "given-names": "Kenneth T."},
        {"family-names": "Martinez-Rego", "given-names": "David"},
        {"family-names": "Hau", "given-names": "Zhongyuan"},
        {"family-names": "Lupu", "given-names": "Emil C."},
    ],
    "identifiers": [{"type": "other", "value": "arXiv:2204.08726"}],
}
#: This software, without its version.
SOFTWARE: dict[str, Any] = {
    "type": "software",
    "title": "Jacobian Ensembles: a workflow-managed reproduction",
    "authors": [{"name": "The Jacobian Ensembles authors"}],
}
_KINDS = {"article": "article", "conference-paper": "inproceedings", "software": "software"}
_FIELDS = {"journal": "journal", "collection-title": "booktitle", "volume": "volume", "issue": "number", "doi": "doi",
           "version": "version", "notes": "note"}  # fmt: skip


def _author(author: Mapping[str, str]) -> str:
    return f"{{{author['name']}}}" if "name" in author else f"{author['family-names']}, {author['given-names']}"


def _key(reference: Mapping[str, Any]) -> str:
    """The first author's name, the year and the title's first word, in ASCII."""
    author = reference["authors"][0]
    words = author.get("family-names", author.get("name", "")).split()[-1], reference["title"].split()[0]
    name, word = (re.sub("[^A-Za-z]", "", unicodedata.normalize("NFKD", text)) for text in words)
    return f"{name}{reference.get('year', '')}{word}".lower()


def bibtex(reference: Mapping[str, Any]) -> str:
    """A Citation File Format reference as a BibTeX entry.

    Args:
        reference: ``type``, ``title``, ``authors`` and whatever else is known: ``year``, ``journal``,
            ``collection-title``, ``volume``, ``issue``, ``start`` and ``end``, ``doi``, ``version``, ``notes``, and
            ``identifiers`` such as ``arXiv:2204.08726``.
    """
    fields = {"title": f"{{{reference['title']}}}", "author": " and ".join(map(_author, reference["authors"]))}
    fields |= {name: reference[key] for key, name in _FIELDS.items() if key in reference}
    if "start" in reference:
        fields["pages"] = f"{reference['start']}--{reference['end']}"
    if "year" in reference:
        fields["year"] = reference["year"]
    for identifier in reference.get("identifiers", ()):
        archive, _, number = identifier["value"].partition(":")
        fields |= {"eprint": number, "archiveprefix": archive}
    lines = "".join(f"  {name} = {{{value}}},\n" for name, value in fields.items())
    return f"@{_KINDS[reference['type']]}{{{_key(reference)},\n{lines}}}"


def citations(version: str, commits: Sequence[str]) -> str:
    """What to cite for a run: the paper, and this software as it was when it made the run.

    Args:
        version: Of the package.
        commits: Those that made the run; empty where it was not made from a repository.
    """
    note = {"notes": f"Commit {', '.join(commits)}"} if commits else {}
    return f"{bibtex(PAPER)}\n\n{bibtex({**SOFTWARE, 'version': version, **note})}"
