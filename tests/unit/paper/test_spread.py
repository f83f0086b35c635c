import numpy as np
import pandas as pd
import pytest

from jacobian_ensembles.evaluation.statistics import student_interval
from jacobian_ensembles.paper.spread import spread

CELL = {"dataset": "mnist", "ensemble": "voting", "members": 1, "lambda": 0.1, "repetition": 0}


def test_spread_over_trainings_and_over_attack_seeds_are_kept_apart():
    rows = [
        {**CELL, "repetition": r, "eps": eps, "seeds": 5, "images": 100, "clean_accuracy": clean,
         "worst_accuracy": worst, "std_accuracy": sd}
        for r, clean, uaps in ((0, 0.90, (0.5, 0.3)), (1, 0.94, (0.52, 0.32)))
        for eps, worst, sd in zip((0.1, 0.2), uaps, (0.01, 0.03), strict=True)
    ]  # fmt: skip
    rendered = spread({"metrics": pd.DataFrame(rows)}, "reps", "", clean_weight=0.5, confidence=0.95)
    (row,) = rendered.frame.to_dict("records")
    assert row["repetitions"] == 2
    assert (row["clean_accuracy"], row["mean_uap_accuracy"], row["weighted_accuracy"]) == pytest.approx(
        (0.92, 0.41, 0.665)
    )
    assert (row["mean_uap_low"], row["mean_uap_high"]) == pytest.approx(student_interval([0.4, 0.42]), abs=1e-5)
    assert row["mean_uap_sd"] == pytest.approx(0.02 / np.sqrt(2), abs=1e-5)
    assert row["attack_seed_sd"] == pytest.approx(0.02)
    text = rendered.markdown
    assert "mean of 2 trainings" in text
    assert "| MNIST | voting M=1 λ=0.10 | 2 | 92.0 [" in text
