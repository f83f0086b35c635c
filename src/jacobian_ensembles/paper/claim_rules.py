"""The paper's claims, and the rule by which each is judged: the second edition.

The rules were fixed on 30 November 2026, when trainings 0 to 2 of the grid were known and no other was. An effect is 1
point of accuracy under attack or of weighted accuracy; for clean accuracy, 0.1 points on MNIST and 0.5 on
Fashion-MNIST, about a tenth and a twentieth of a standard network's errors. C1, C8, C10 and C11 ask for another size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jacobian_ensembles.paper.claim_gains import (
    UAP,
    WEIGHTED,
    Found,
    Sizes,
    gains_beside,
    mean_gains,
    more_pronounced,
    more_pronounced_beside,
    needed_clean,
    norms_fall,
)
from jacobian_ensembles.paper.claim_parts import (
    against_kinds,
    against_kinds_beside,
    fashion_peaks_below_half,
    large_lambda_is_detrimental_on_fashion,
    loss_at_large_lambda,
    monotone_on_mnist,
    small_lambda_helps,
)
from jacobian_ensembles.paper.effects import SINGLE, Effect, Evidence


@dataclass(frozen=True)
class Rule:
    """A claim of the paper and how it is judged.

    Attributes:
        claim: Its number.
        place: Where the paper says it.
        statement: What it says.
        test: What is compared, and what is needed.
        effects: Maps the evidence to the effects of the primary analysis, and what the run lacks.
        most: Whether the claim is about most parts only (more than half); otherwise it is about all.
        unit: Of the effects: ``points`` or ``%``.
        beside: Other analyses of the same, which give no verdict.
    """

    claim: str
    place: str
    statement: str
    test: str
    effects: Callable[[Evidence], Found]
    most: bool = False
    unit: str = "points"
    beside: Callable[[Evidence], list[Effect]] = lambda _: []


_METHODS = (
    "The mean gain of M > 1 over its own members, each attacked by itself (snapshots: over M = 1, a run of the same "
    "length), over M and λ"
)
_HELD_OUT = "chosen in trainings known before, measured in later ones"


def _best_by(chosen_by: str, column: str, needed: Sizes, *kinds: str) -> dict[str, Any]:
    """How a claim about the best of each kind is judged, and what stands beside."""
    return {
        "effects": lambda found: against_kinds(found, chosen_by, column, needed, kinds),
        "beside": lambda found: against_kinds_beside(found, chosen_by, column, needed, kinds),
    }


#: Every claim, in the order of the report.
RULES = (
    Rule(
        "C1", "4.2, Clean Accuracy; Figure 1", "A large λ damages clean accuracy.",
        "The loss at the largest λ (at least 1) against λ = 0, on each dataset, over methods and M; needs 1 point.",
        loss_at_large_lambda,
    ),
    Rule(
        "C2", "4.2, Clean Accuracy; Figure 1",
        "A little regularisation, 0 < λ ≤ 0.1, gives better clean accuracy than none.",
        "The best of λ = 0.01, 0.05 and 0.1 against 0, on each dataset, over methods and M; needs 0.1 points on MNIST "
        "and 0.5 on Fashion-MNIST, and all these λ.",
        small_lambda_helps,
    ),
    Rule(
        "C3", "4.2, Clean Accuracy; Figure 1", "M > 1 beats M = 1 in clean accuracy across settings.",
        f"{_METHODS}; needs 0.1 points on MNIST and 0.5 on Fashion-MNIST, with every method.",
        lambda found: mean_gains(found, "clean", needed_clean, by_method=True),
        beside=lambda found: gains_beside(found, "clean", needed_clean, by_method=True),
    ),
    Rule(
        "C4", "4.2, Model Robustness; Figure 2", "M > 1 beats M = 1 in robustness in most settings.",
        f"{_METHODS}; needs 1 point in more than half of the pairs of dataset and method.",
        lambda found: mean_gains(found, "uap", lambda _: UAP, by_method=True),
        most=True,
        beside=lambda found: gains_beside(found, "uap", lambda _: UAP, by_method=True),
    ),
    Rule(
        "C5", "4.2, Model Robustness; Figure 2", "On MNIST robustness grows monotonically with λ.",
        "Every step from one λ to the next, over methods and M: none may lose 1 point, and all together must gain it.",
        monotone_on_mnist,
    ),
    Rule(
        "C6", "4.2, Model Robustness; Figure 2", "On Fashion-MNIST the best robustness lies at 0 < λ < 0.5.",
        "The best of λ = 0.01, 0.05, 0.1 and 0.2 against the best of 0, 0.5, 1 and 2, over methods and M; needs 1 "
        "point, and all these λ.",
        fashion_peaks_below_half,
    ),
    Rule(
        "C7", "4.3; Table 1; 5", "Jacobian ensembles have the best weighted accuracy.",
        f"The best Jacobian ensemble against the best model of each other kind ({_HELD_OUT}); needs 1 point of each, "
        "and all methods and λ.",
        **_best_by("weighted", "weighted", lambda _: WEIGHTED, "JR only", "ensemble only", "standard"),
    ),
    Rule(
        "C8", "3, Theorem 3.1; 5", "Expectation and variance of ‖J_F‖² fall with M.",
        "How far M > 1 is below the mean of its own learners (geometric mean over M and λ; exact norms over test "
        "images); needs 10 %.",
        norms_fall, unit="%",
        beside=lambda found: [effect.beside(SINGLE) for effect in norms_fall(found, SINGLE)[0]],
    ),
    Rule(
        "C9", "4.2, end", "The advantages of ensembles are more pronounced with Jacobian regularisation.",
        "The gain of M > 1 (see C3) at λ > 0 (mean over λ) less that at λ = 0; needs 1 point under attack, at those ε "
        "where all four are 5 points away from chance and from clean accuracy, and clean 0.1 on MNIST and 0.5 on "
        "Fashion-MNIST.",
        more_pronounced, beside=more_pronounced_beside,
    ),
    Rule(
        "C10", "4.3; Table 1",
        "The best Jacobian ensembles have a clear advantage in average UAP accuracy over ensembles without "
        "regularisation.",
        f"Average UAP accuracy of the best by weighted accuracy ({_HELD_OUT}); needs 5 points, and all "
        "methods and λ.",
        **_best_by("weighted", "uap", lambda _: 5.0, "ensemble only"),
    ),
    Rule(
        "C11", "4.3; Table 1; abstract",
        "The best Jacobian ensembles keep very close clean accuracy to that of standard models and plain ensembles.",
        f"Clean accuracy of the best by weighted accuracy ({_HELD_OUT}); at most 1 point may be "
        "lost; needs all methods and λ.",
        **_best_by("weighted", "clean", lambda _: -1.0, "ensemble only", "standard"),
    ),
    Rule(
        "C12", "4.2, Clean Accuracy; Figure 1", "Jacobian ensembles have the best clean accuracy.",
        f"The best Jacobian ensemble by clean accuracy against the best of each other kind ({_HELD_OUT}); needs 0.1 "
        "points on MNIST and 0.5 on Fashion-MNIST of each, and all methods and λ.",
        **_best_by("clean", "clean", needed_clean, "JR only", "ensemble only", "standard"),
    ),
    Rule(
        "C13", "4.3, end", "Ensembles give a noticeably large boost in weighted accuracy on both datasets.",
        f"{_METHODS}, on each dataset; needs 1 point.",
        lambda found: mean_gains(found, "weighted", lambda _: WEIGHTED),
        beside=lambda found: gains_beside(found, "weighted", lambda _: WEIGHTED),
    ),
    Rule(
        "C14", "4.3, end", "On Fashion-MNIST a large λ is detrimental to weighted accuracy.",
        "The best of λ = 0.01 to 1 against 2, over methods and M; needs 1 point, and all these λ.",
        large_lambda_is_detrimental_on_fashion,
    ),
)  # fmt: skip
