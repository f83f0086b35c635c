"""Made-up grids with known effects, at the sizes the claims need and away from them: which verdicts come out.

    python tests/unit/paper/test_claims_simulated.py 100

judges that many grids of each world, and prints how often a verdict is wrong and how often one is given.
"""

import sys
from collections import Counter

import pytest
from helpers_claims import paper_uap, tables

from jacobian_ensembles.paper.claims import check_claims, evidence_of

CLAIMS = [f"C{i}" for i in range(1, 15)]
CLEAN = {"mnist": 0.1, "fashion_mnist": 0.5}
#: Five trainings; without regularisation they differ three times as much, as in the shipped grid.
NOISE = {"trainings": 5, "noise": (0.1, 1.5), "more_without": 3.0, "images": 0.1}
FAIL = dict.fromkeys(CLAIMS, "does not hold") | {"C8": "holds"}
#: By world: clean accuracy, accuracy under attack, and the verdicts that are right; where none is, an effect is exactly
#: as large as needed, and "cannot tell" alone is no error.
WORLDS = {
    # with the largest lambda away from the best by weighted accuracy: which is chosen decides C11
    "as the paper says": (
        {"uap": lambda d, e, m, lam: paper_uap(d, e, m, lam) - 0.8 * (lam == 2), "noise": (0.05, 0.5)},
        dict.fromkeys(CLAIMS, "holds"),
    ),
    "nothing matters": (
        {"clean": lambda *_: 95.0, "uap": lambda *_: 50.0},
        FAIL | {"C11": "holds"},
    ),
    "just as large as needed": (
        {
            "clean": lambda d, e, m, lam: 95 + CLEAN[d] * (m > 1) - (lam == 2),
            "uap": lambda d, e, m, lam: 50 + (m > 1),
        },
        FAIL | {"C1": "", "C3": "", "C4": "", "C11": "holds"},
    ),
    "just as far on the other side": (
        {
            "clean": lambda d, e, m, lam: 95 - CLEAN[d] * (m > 1) + (lam == 2),
            "uap": lambda d, e, m, lam: 60 - (m > 1) - 5 * (lam > 0),
        },
        FAIL | {"C5": "reversed or does not hold", "C6": "reversed or does not hold", "C11": "holds"},
    ),
}


def judged(world, seed):
    """The verdicts on one grid of a world, by claim, without those that say "cannot tell"."""
    settings, _ = WORLDS[world]
    found = check_claims(evidence_of(tables(**{**NOISE, **settings}, seed=seed), 0.5, 0.95).judged())
    return {claim.rule.claim: claim.row.verdict for claim in found if claim.row.verdict != "cannot tell"}


@pytest.mark.parametrize("world", WORLDS)
def test_verdicts_on_made_up_grids_are_right(world):
    right = WORLDS[world][1]
    told = Counter()
    for seed in range(3):
        found = judged(world, seed)
        assert {claim: verdict for claim, verdict in found.items() if verdict not in right[claim]} == {}
        told.update(found.keys())
    assert told["C8"] == 3
    assert len(told) >= 8


if __name__ == "__main__":
    for name, (_, right) in WORLDS.items():
        grids = [judged(name, seed) for seed in range(1000, 1000 + int(sys.argv[1]))]
        faults = [[claim for claim, verdict in found.items() if verdict not in right[claim]] for found in grids]
        told = Counter(claim for found in grids for claim in found)
        wrong = Counter(claim for claims in faults for claim in claims)
        share = f"{sum(map(bool, faults))} of {len(grids)} grids"
        sys.stdout.write(f"{name}: a wrong verdict in {share} {dict(wrong)}; told {dict(told)}\n")
        sys.stdout.flush()
