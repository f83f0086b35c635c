"""The answer that a page opens with: each claim's verdict with one number, and how many hold."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pandas as pd

#: How a verdict looks; others look as one that is open.
_TONES = {"holds": "good", "holds in part": "part", "does not hold": "bad"}
_MARKS = {"good": "✓", "part": "◐", "bad": "✗", "open": "–"}
# where a table of claims has no effects: "better in 11 of 18 settings", "lower in 100% of settings"
_COUNT = re.compile(r"(?:^|(?<=[.;:,] ))(?:[A-Za-z][^.;:,()]*\b)?\d+(?: of \d+|% of settings)[^.;,()]*")


def _missing(value: Any) -> bool:
    return value is None or value == "" or (isinstance(value, float) and pd.isna(value))


def _number(row: Mapping[str, Any]) -> str:
    """The one number of a claim: its effect with its interval and unit, or the count that its evidence names."""
    effect = row.get("effect")
    if _missing(effect):
        found = _COUNT.search(str(row.get("evidence", "")))
        return found[0].strip() if found else ""
    if isinstance(effect, str):
        return effect
    number = f"{effect:+.1f}"
    if not any(_missing(row.get(name)) for name in ("low", "high")):
        number += f" [{row['low']:+.1f}, {row['high']:+.1f}]"
    return f"{number} {row['unit']}" if not _missing(row.get("unit")) else number


def verdicts(claims: pd.DataFrame) -> list[dict[str, Any]]:
    """The claims as a page shows them.

    Args:
        claims: ``claims.csv``: ``claim``, ``statement`` and ``verdict``; and, where it has them, ``effect`` (text, or a
            number with ``low``, ``high`` and ``unit``), ``evidence`` and ``test``.

    Returns:
        Per claim, beside these: ``tone`` (good, part, bad, open), ``mark``, and ``number``, the one to show.
    """
    shown = []
    for row in claims.astype(object).to_dict("records"):
        text = {str(name): "" if _missing(value) else value for name, value in row.items()}
        tone = _TONES.get(str(text["verdict"]), "open")
        both = {"evidence": text.get("evidence", ""), "test": text.get("test", "")}
        shown.append({**text, **both, "tone": tone, "mark": _MARKS[tone], "number": _number(text)})
    return shown


def sentence(shown: list[dict[str, Any]]) -> str:
    """How many claims have which verdict: "Of the paper's 8 claims 3 hold, 4 hold in part, 1 does not hold."."""
    counts = Counter(str(claim["verdict"]) for claim in shown)
    order = [*_TONES, *sorted(counts.keys() - _TONES.keys())]
    parts = []
    for verdict in (v for v in order if counts[v]):
        one = counts[verdict] == 1
        words = {"holds": "hold", "holds in part": "hold in part", "does not hold": "do not hold"}
        said = verdict if one else words.get(verdict, verdict)
        if verdict not in _TONES:
            said = f"{'is' if one else 'are'} {verdict}"
        parts.append(f"{counts[verdict]} {said}")
    return f"Of the paper's {len(shown)} claims {', '.join(parts)}."
