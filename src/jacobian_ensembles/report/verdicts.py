"""The answer that a page opens with: each claim's verdict with what was measured in one line, and how many hold."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import pandas as pd

#: The tone of each verdict; any other is shown as open.
_TONES = {"holds": "good", "holds in part": "part", "does not hold": "bad", "reversed": "bad"}
_MARKS = {"good": "✓", "part": "◐", "bad": "✗", "open": "?"}
#: The wording for several claims, and for one.
_SAID = {
    "holds": ("hold", "holds"),
    "holds in part": ("hold in part", "holds in part"),
    "does not hold": ("do not hold", "does not hold"),
    "reversed": ("are reversed", "is reversed"),
    "not tested": ("are not tested", "is not tested"),
}
# "In points: MNIST bagging +0.17 [+0.09, +0.26] (better in 15 of 15 settings); Fashion-MNIST ..."
_UNIT = re.compile(r"In ([^:;]+): (.*)")
_EFFECT = re.compile(r"(?P<dataset>[\w-]+)[^;+]*? (?P<value>[+-]\d+(?:\.\d+)?)(?P<interval> \[[^\]]*\])?(?: \(|$|\.$)")
# tables of earlier versions: "better in 11 of 18 settings", "lower in 100% of settings"
_COUNT = re.compile(r"(?:^|(?<=[.;:,] ))(?:[A-Za-z][^.;:,()]*\b)?\d+(?: of \d+|% of settings)[^.;,()]*")


def _number(evidence: str) -> str:
    """The effects of a claim in one line: per dataset the only one with its interval, or the range of several."""
    found = _UNIT.match(evidence)
    if not found:
        count = _COUNT.search(evidence)
        return count[0].strip() if count else ""
    unit, listed = found.groups()
    effects: dict[str, list[re.Match[str]]] = {}
    for part in listed.split("; "):
        if effect := _EFFECT.match(part.strip()):
            effects.setdefault(effect["dataset"], []).append(effect)
    shown = []
    for dataset, group in effects.items():
        values = sorted((effect["value"] for effect in group), key=float)
        one = f"{values[0]}{group[0]['interval'] or ''}"
        shown.append(f"{dataset} {one if len(group) == 1 else f'{values[0]} to {values[-1]}'}")
    return f"{', '.join(shown)} {unit}" if shown else ""


def verdicts(claims: pd.DataFrame) -> list[dict[str, Any]]:
    """The claims as a page shows them.

    Args:
        claims: ``claims.csv``: ``claim``, ``statement`` and ``verdict``; and, where it has them, ``place`` in the
            paper, ``evidence``, ``test``, ``p`` and ``missing``, what it would take to tell.

    Returns:
        Per claim, besides all of these as text: ``tone`` (good, part, bad, open), its ``mark``, and ``number``, its
        effects in one line.
    """
    shown = []
    for row in claims.astype(object).to_dict("records"):
        text = dict.fromkeys(("place", "evidence", "test", "p", "missing"), "")
        text |= {str(name): "" if pd.isna(value) else str(value) for name, value in row.items()}
        tone = _TONES.get(text["verdict"], "open")
        shown.append({**text, "tone": tone, "mark": _MARKS[tone], "number": _number(text["evidence"])})
    return shown


def sentence(shown: list[dict[str, Any]]) -> str:
    """How many claims have each verdict: "Of the paper's 8 claims 3 hold; about 5 this run cannot tell."."""
    counts = Counter(str(claim["verdict"]) for claim in shown)
    unclear = counts.pop("cannot tell", 0)
    order = [verdict for verdict in _SAID if counts[verdict]] + sorted(counts.keys() - _SAID.keys())
    parts = [f"{counts[verdict]} {_SAID.get(verdict, (verdict, verdict))[counts[verdict] == 1]}" for verdict in order]
    told = f"Of the paper's {len(shown)} claims {', '.join(parts)}" if parts else ""
    if not unclear:
        return f"{told}."
    return (
        f"{told}; about {unclear} this run cannot tell."
        if told
        else "This run cannot tell about any of the paper's claims."
    )
