"""What the page of a finished run shows, as one record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

Key = tuple[Any, ...]


def model_key(spec: Mapping[str, Any]) -> Key:
    """What tells the models of a run apart: dataset, ensemble, members, lambda."""
    return spec["dataset"], spec["ensemble"], int(spec["members"]), float(spec["lambda"])


@dataclass(frozen=True)
class TestSet:
    """The test images of a dataset.

    Attributes:
        images: (N, channels, height, width), float32 in [0, 1].
        labels: (N,) true classes.
        names: What the C classes are called.
        leaked: How many of the images are training images, too.
    """

    images: np.ndarray
    labels: np.ndarray
    names: tuple[str, ...]
    leaked: int = 0


@dataclass(frozen=True)
class RunRecord:
    """What the page of a finished run shows.

    Attributes:
        run: The run's name.
        banner: The run's banner; empty for a full run.
        eps: The eps of Figure 2, whose perturbations the gallery shows.
        clean_weight: Where the slider for the weight of clean accuracy starts, in [0, 1].
        config: The configuration, shown as it is.
        summary: ``summary.csv``.
        comparison: ``comparison.csv``.
        figures: Name and PNG of each figure, in the order of the page.
        captions: Of figures that are not the catalogue's, by name.
        claims: ``claims.csv``, see :func:`~.verdicts.verdicts`; None where it was not computed.
        effects: ``effects.csv``, what the claims rest on; None without them.
        stress: ``stress.csv``; None where it was not made.
        classes: How many classes datasets have, by name.
        clean: By :func:`model_key`, which test images are classified correctly, booleans, and the true classes: (N,)
            each; empty where the run kept none.
        uaps: The worst perturbation at ``eps``, by :func:`model_key`: ``delta``, ``correct``, ``accuracy``, ``seed``;
            empty where the run kept none.
        examples: What the models shown in detail take the example images for, clean and perturbed; a live run's.
        test_sets: By the dataset's name, those that are here.
        provenance: The provenance records of the run's jobs; none in a shipped run.
        made: What ``provenance.json`` says in their place.
    """

    run: str
    banner: str
    eps: float
    clean_weight: float
    config: Mapping[str, Any]
    summary: pd.DataFrame
    comparison: pd.DataFrame
    figures: Sequence[tuple[str, bytes]]
    claims: pd.DataFrame | None
    effects: pd.DataFrame | None
    stress: pd.DataFrame | None
    classes: Mapping[str, int]
    clean: Mapping[Key, tuple[np.ndarray, np.ndarray]]
    uaps: Mapping[Key, Mapping[str, Any]]
    examples: Mapping[Key, tuple[Sequence[int], Sequence[int]]]
    test_sets: Mapping[str, TestSet]
    provenance: Sequence[Mapping[str, Any]]
    made: Mapping[str, Any]
    captions: Mapping[str, str] = field(default_factory=dict)
