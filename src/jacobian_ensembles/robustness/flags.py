"""Signs that a model's robustness is not real: rules with fixed thresholds, applied to a table of the attacks on it.

An attack that fails makes a model look robust. Each rule checks something that a model with honest gradients does:
Athalye et al., Obfuscated Gradients Give a False Sense of Security (2018), Section 3.1, and Carlini et al., On
Evaluating Adversarial Robustness (2019), list such checks for attacks on single images. The thresholds below were
written down before the first run that they judged. A raised flag is a question to answer, not a proof; the absence
of flags proves nothing either.

The table has a row per attack and eps:

===================== ==================================================================================================
``attack``            its name; rows of one attack differ in ``eps``
``kind``              :data:`CLEAN`, :data:`WHITE_BOX` (by gradients), :data:`BLACK_BOX` (by scores), :data:`NOISE`,
                      :data:`TRANSFER` (crafted on other models) or :data:`SINGLE` (a perturbation for each image)
``eps``               radius; 0 for clean
``steps``             gradient steps, or queries; NaN where they are not counted
``family``            shared by attacks that differ only in ``steps``; empty for others
``seeds``             attack seeds, or source models
``images``            test images
``worst_accuracy``    the lowest of the seeds' accuracies, in [0, 1]; NaN where an attack was not run
``mean_accuracy``     their mean
``std_accuracy``      their standard deviation; NaN for one seed
``without_gradient``  share of the steps that had no finite gradient other than zero
===================== ==================================================================================================
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

CLEAN, WHITE_BOX, BLACK_BOX = "clean", "white box", "black box"
NOISE, TRANSFER, SINGLE = "noise", "transfer", "single image"
#: Two accuracies differ if they are further apart than this, whatever the number of images.
LEAST = 0.01
#: ... and than this many standard errors of their difference, as if measured on different images.
STANDARD_ERRORS = 2.0
#: Accuracy is at chance if it exceeds the share of the most frequent class by no more than this.
CHANCE_SLACK = 0.05
#: From this eps on, every image can be turned into the same grey, so only chance is left.
LARGE_EPS = 0.5
#: Share of steps without a gradient above which an attack counts as hindered.
HINDERED = 0.01


def tolerance(first: float, second: float, images: float, first_error: float = 0.0, second_error: float = 0.0) -> float:
    """How far apart two accuracies may be by chance.

    Args:
        first: An accuracy, in [0, 1].
        second: Another one.
        images: The smaller of their two numbers of test images.
        first_error: Standard error of the first over attack seeds, where it is a mean over them.
        second_error: That of the second.

    Returns:
        The larger of :data:`LEAST` and :data:`STANDARD_ERRORS` standard errors of the difference.
    """
    variance = (first * (1 - first) + second * (1 - second)) / images + first_error**2 + second_error**2
    return max(LEAST, STANDARD_ERRORS * math.sqrt(variance))


Row = Mapping[Any, Any]


def _known(rows: Sequence[Row], kind: str, column: str = "worst_accuracy") -> list[int]:
    """The indices of the rows of a kind that have a value in a column."""
    return [i for i, row in enumerate(rows) if row["kind"] == kind and not pd.isna(row[column])]


def _strongest(rows: Sequence[Row], eps: float) -> int | None:
    """The index of the strongest universal gradient-based attack's row at an eps; None if there is none."""
    white = [i for i in _known(rows, WHITE_BOX) if rows[i]["eps"] == eps]
    return min(white, key=lambda i: float(rows[i]["worst_accuracy"])) if white else None


def _beyond_white_box(rows: Sequence[Row], kind: str) -> Iterator[tuple[int, float, float]]:
    """The rows of a kind that differ from the strongest gradient-based attack.

    Yields:
        The row's index, the worst accuracy under that attack, and the row's own.
    """
    for i in _known(rows, kind):
        if (white := _strongest(rows, rows[i]["eps"])) is None:
            continue
        ours, others = (float(rows[j]["worst_accuracy"]) for j in (white, i))
        if abs(ours - others) > tolerance(ours, others, min(rows[white]["images"], rows[i]["images"])):
            yield i, ours, others


def _beaten(rows: Sequence[Row], kind: str, chance: float) -> list[int]:
    """The rows of a kind that are stronger than the gradient-based attacks, unless these have come down to chance."""
    return [i for i, ours, others in _beyond_white_box(rows, kind) if others < ours and ours > chance + CHANCE_SLACK]


def beaten_by_transfer(rows: Sequence[Row], chance: float) -> list[int]:
    """A perturbation crafted on another model costs more than the strongest one crafted on this model's gradients."""
    return _beaten(rows, TRANSFER, chance)


def beaten_by_black_box(rows: Sequence[Row], chance: float) -> list[int]:
    """A search that sees only scores finds worse perturbations than the attacks that see gradients."""
    return _beaten(rows, BLACK_BOX, chance)


def beaten_by_noise(rows: Sequence[Row], chance: float) -> list[int]:
    """Random signs of size eps cost more than the attacks that see gradients."""
    return _beaten(rows, NOISE, chance)


def not_at_chance(rows: Sequence[Row], chance: float) -> list[int]:
    """The strongest attack leaves more than chance at an eps of :data:`LARGE_EPS` or more, where only that is left."""
    large = sorted({row["eps"] for row in rows if row["eps"] >= LARGE_EPS})
    strongest = [i for eps in large if (i := _strongest(rows, eps)) is not None]
    return [i for i in strongest if rows[i]["worst_accuracy"] > chance + CHANCE_SLACK]


def _rises(rows: Sequence[Row], chosen: Sequence[int], along: str, chance: float) -> list[int]:
    """The rows whose mean accuracy is above the lowest one before them along a column, and above chance."""
    raised: list[int] = []
    lowest: Row | None = None
    for i in sorted(chosen, key=lambda i: float(rows[i][along])):
        row, now = rows[i], float(rows[i]["mean_accuracy"])
        if lowest is not None and now > chance + CHANCE_SLACK:
            before, images = float(lowest["mean_accuracy"]), min(row["images"], lowest["images"])
            if now - before > tolerance(now, before, images, _standard_error(row), _standard_error(lowest)):
                raised.append(i)
        if lowest is None or now < lowest["mean_accuracy"]:
            lowest = row
    return raised


def _standard_error(row: Row) -> float:
    """The standard error of a mean over attack seeds; 0 for one seed."""
    return 0.0 if pd.isna(row["std_accuracy"]) else float(row["std_accuracy"]) / math.sqrt(row["seeds"])


def rises_with_eps(rows: Sequence[Row], chance: float) -> list[int]:
    """A gradient-based attack leaves a higher mean accuracy at a larger eps, whose ball contains the smaller one's."""
    clean, white = _known(rows, CLEAN), _known(rows, WHITE_BOX, "mean_accuracy")
    attacks = dict.fromkeys(rows[i]["attack"] for i in white)
    same = ([*clean, *(i for i in white if rows[i]["attack"] == attack)] for attack in attacks)
    return [i for chosen in same for i in _rises(rows, chosen, "eps", chance)]


def rises_with_steps(rows: Sequence[Row], chance: float) -> list[int]:
    """The same attack with more steps leaves a higher mean accuracy."""
    white = [i for i in _known(rows, WHITE_BOX, "mean_accuracy") if rows[i]["family"]]
    groups = dict.fromkeys((rows[i]["family"], rows[i]["eps"]) for i in white)
    same = ([i for i in white if (rows[i]["family"], rows[i]["eps"]) == group] for group in groups)
    return [i for chosen in same for i in _rises(rows, chosen, "steps", chance)]


def without_gradient(rows: Sequence[Row], chance: float) -> list[int]:
    """A share of more than :data:`HINDERED` of an attack's steps had no finite gradient other than zero."""
    return [i for i, row in enumerate(rows) if row["without_gradient"] > HINDERED]


def not_run(rows: Sequence[Row], chance: float) -> list[int]:
    """An attack that was asked for was not run: its accuracy is not known, and the test is not complete."""
    return [i for i, row in enumerate(rows) if pd.isna(row["worst_accuracy"])]


def single_image_weaker(rows: Sequence[Row], chance: float) -> list[int]:
    """Images attacked one by one hold out better than under one perturbation that they all share."""
    return [i for i, universal, single in _beyond_white_box(rows, SINGLE) if single > universal]


#: Each rule by the name of its flag: it maps the rows of a model's table, and the share of the most frequent class,
#: to the indices of the rows that raise the flag.
RULES: dict[str, Callable[[Sequence[Row], float], list[int]]] = {
    "beaten by transfer": beaten_by_transfer,
    "beaten by black box": beaten_by_black_box,
    "beaten by noise": beaten_by_noise,
    "not at chance": not_at_chance,
    "rises with eps": rises_with_eps,
    "rises with steps": rises_with_steps,
    "without gradient": without_gradient,
    "single image weaker": single_image_weaker,
    "not run": not_run,
}


def flagged(table: pd.DataFrame, chance: float) -> pd.DataFrame:
    """A model's table with one more column, ``flags``: what each row raises, by the names of :data:`RULES`.

    Args:
        table: Of one model, with the columns listed above.
        chance: The share of the most frequent class among the test images.

    Returns:
        The table, numbered from 0, with ``flags``: names joined by semicolons, empty for none.
    """
    rows = table.to_dict("records")
    raised = {name: set(rule(rows, chance)) for name, rule in RULES.items()}
    flags = ["; ".join(name for name in RULES if i in raised[name]) for i in range(len(rows))]
    return table.reset_index(drop=True).assign(flags=flags)


def flags_of(table: pd.DataFrame) -> list[str]:
    """The flags raised anywhere in a table of :func:`flagged`, in the order of :data:`RULES`."""
    seen = {name for flags in table["flags"] for name in flags.split("; ")}
    return [name for name in RULES if name in seen]
