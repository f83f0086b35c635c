"""The answer that a page opens with: each claim's verdict with what was measured in one line, and how many hold."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pandas as pd

from jacobian_ensembles.paper.claims import FAILS, HOLDS, OPEN, REVERSED
from jacobian_ensembles.paper.effects import PRIMARY, signed, with_interval
from jacobian_ensembles.paper.labels import DATASET_TITLES

#: The tone of each verdict.
_TONES = {HOLDS: "good", FAILS: "bad", REVERSED: "bad", OPEN: "open"}
_MARKS = {"good": "✓", "bad": "✗", "open": "?"}
#: The wording for several claims, and for one.
_SAID = {HOLDS: ("hold", "holds"), FAILS: ("do not hold", "does not hold"), REVERSED: ("are reversed", "is reversed")}


def _number(effects: pd.DataFrame) -> str:
    """What a verdict rests on, in one line: per dataset the only effect with its interval, or the range of several."""
    measured = effects[effects["value"].notna() & (effects["analysis"] == PRIMARY)].sort_values("value")
    shown = []
    for dataset in dict.fromkeys(effects["dataset"]):
        found = measured[measured["dataset"] == dataset].to_dict("records")
        if len(found) == 1:
            text = with_interval(*(found[0][name] for name in ("value", "low", "high", "needed")))
        elif found:
            text = " to ".join(signed(effect["value"], effect["needed"]) for effect in (found[0], found[-1]))
        else:
            continue
        shown.append(f"{DATASET_TITLES[dataset]} {text}")
    return f"{', '.join(shown)} {effects['unit'].iloc[0]}" if shown else ""


def verdicts(claims: pd.DataFrame, effects: pd.DataFrame) -> list[dict[str, Any]]:
    """The claims as a page shows them.

    Args:
        claims: ``claims.csv``.
        effects: ``effects.csv``.

    Returns:
        Per claim, besides all columns of ``claims.csv`` as text: ``tone`` (good, bad, open), its ``mark``, and
        ``number``, its effects in one line.
    """
    shown = []
    for row in claims.astype(object).to_dict("records"):
        text = {str(name): "" if pd.isna(value) else str(value) for name, value in row.items()}
        tone = _TONES[text["verdict"]]
        number = _number(effects[effects["claim"] == text["claim"]])
        shown.append({**text, "tone": tone, "mark": _MARKS[tone], "number": number})
    return shown


def sentence(shown: list[dict[str, Any]]) -> str:
    """How many claims have each verdict: "Of the paper's 8 claims 3 hold; about 5 this run cannot tell."."""
    counts = Counter(str(claim["verdict"]) for claim in shown)
    parts = [f"{counts[verdict]} {said[counts[verdict] == 1]}" for verdict, said in _SAID.items() if counts[verdict]]
    if not parts:
        return "This run cannot tell about any of the paper's claims."
    told = f"Of the paper's {len(shown)} claims {', '.join(parts)}"
    return f"{told}; about {counts[OPEN]} this run cannot tell." if counts[OPEN] else f"{told}."
