"""The attack of a run, and its variants: which one, with which options, how many seeds, on which images. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pkgutil import resolve_name
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError, model_validator

from jacobian_ensembles.attacks.attack import UniversalAttack, load_attack
from jacobian_ensembles.attacks.registry import ATTACKS
from jacobian_ensembles.attacks.sgd_uap import SgdOptions
from jacobian_ensembles.config.grid import Values
from jacobian_ensembles.config.messages import describe
from jacobian_ensembles.config.settings import PositiveInt, Unit
from jacobian_ensembles.config.values import numbers_in_text
from jacobian_ensembles.extensions.references import check_reference

#: The settings that every attack shares: how many perturbations, on which images, how they are applied and bounded.
_OF_ALL = {"seeds", "seeds_per_job", "split", "clip", "norm"}


class Attack(SgdOptions):
    """How universal perturbations are crafted: the attack with its options, how many, and on which images.

    Attributes:
        method: sgd (gradient steps), staged (many starts), square (scores only), or path/to/file.py:object.
        options: staged: starts, rounds, targeted, step, shrink, loss; square: queries, batch_size, share; yours.
        seeds: Attack seeds per (model, eps), the worst is reported; staged spends their steps on one result.
        seeds_per_job: Seeds crafted by one job; with 50, going from 50 to 60 seeds crafts the ten new ones.
        members: Seeds that attack every bagging and voting learner by itself, for the claims; 0 for none.
        split: Images that perturbations are crafted on: train, validation or test.
        iterations: Steps of a seed; 0 leaves the start as it is: with init: sign, random noise.
        momentum: Share of the earlier gradients in a step, in [0, 1]; 0 for none.
        loss: cross_entropy, probability, margin (both bounded), or members (each learner's cross-entropy).
        loss_cap: Cap of each image's cross-entropy, in nats; null for none; unused with bounded losses and targets.
        target: none, or each (attack seed k makes images pass for class k mod C).
        norm: What eps bounds: linf (every pixel's change), or l2 (the root of the mean squared change).
        clip: Clip x + delta to [0, 1]; the paper's definition bounds delta only.
    """

    method: Annotated[str, AfterValidator(partial(check_reference, builtin=ATTACKS))] = "sgd"
    options: Annotated[dict[str, Any], AfterValidator(numbers_in_text)] = Field(default_factory=dict)
    seeds: PositiveInt = 50
    seeds_per_job: PositiveInt = 50
    members: Annotated[int, Field(ge=0)] = 0
    split: Literal["train", "validation", "test"] = "train"

    @model_validator(mode="after")
    def _options_of_the_method(self) -> Attack:
        default = SgdOptions()
        for name in SgdOptions.model_fields:
            if name not in _shared(self.method) and (got := getattr(self, name)) != getattr(default, name):
                raise ValueError(f"{name}: got {got}, an option of sgd; give {self.method} its own, as options")
        if self.target == "class":
            raise ValueError(
                "target: got 'class', whose perturbations are for the images of one class, where a run measures each "
                "on all; give none or each, or call craft_uaps(..., target='class') in Python"
            )
        for option, setting in _said(self.method).items():
            if option in self.options:
                raise ValueError(f"options.{option}: got {self.options[option]!r}; say it as attack.{setting}")
        if kind := _built_in(self.method):
            try:
                self.load()
            except ValidationError as error:
                problems = [f"options.{describe(e, kind)}" for e in error.errors()]
                raise ValueError("; ".join(problems)) from None
        return self

    def _complete(self) -> dict[str, Any]:
        """The attack's options, with those that the section itself says."""
        return self.options | {option: getattr(self, setting) for option, setting in _said(self.method).items()}

    def load(self) -> UniversalAttack:
        """The attack with its options. A user's file is run."""
        return load_attack(self.method, self._complete(), self.norm, self.clip)

    def recipe(self) -> dict[str, Any]:
        """What a perturbation depends on besides its seed."""
        options = self.load().model_dump() if _built_in(self.method) else self.options
        how = {"split": self.split, "clip": self.clip, "norm": self.norm}
        return {"method": self.method, "options": options, **how}

    @property
    def kind(self) -> str:
        """What the attack knows of the model: ``noise``, nothing; ``black box``, scores; ``white box``, gradients."""
        return self.load().kind

    @property
    def steps(self) -> int | None:
        """Steps, or queries, for each perturbation; None where only the attack itself knows."""
        return self.load().steps

    @property
    def family(self) -> str:
        """What attacks that differ only in their number of steps have in common; empty if there are no such attacks."""
        first, *others = self.load().family or ("",)
        return ", ".join([first, f"split {self.split}", *others]) if first else ""

    @property
    def perturbations(self) -> int:
        """How many perturbations are crafted: one per seed, or the one that all their steps are spent on."""
        return 1 if "seeds" in _said(self.method).values() else self.seeds

    def seed_blocks(self) -> list[tuple[int, int]]:
        """The (first, last) attack seed of every crafting job, both ends included."""
        size, count = self.seeds_per_job, self.perturbations
        return [(first, min(first + size, count) - 1) for first in range(0, count, size)]


class Variant(Attack):
    """A variant of the attack, at all of the run's eps or at some.

    Attributes:
        eps: Those of grid.eps at which it is tried; null for all.
    """

    eps: Values[Unit] | None = None


def _built_in(method: str) -> type[UniversalAttack] | None:
    """The class of a built-in attack; None for a user's, whose file a plan does not run."""
    kind: type[UniversalAttack] | None = resolve_name(ATTACKS[method]) if method in ATTACKS else None
    return kind


def _said(method: str) -> dict[str, str]:
    """The options of an attack that are settings of the section, and those settings; of a user's, none are known."""
    kind = _built_in(method)
    return kind.said_by_a_run() if kind else {}


def _shared(*methods: str) -> set[str]:
    """The settings that mean the same for all the attacks named."""
    return _OF_ALL.union(set.intersection(*(set(_said(method).values()) for method in methods)))


def variant_of(attack: Any, changes: Any) -> Any:
    """A variant of the attack: its settings with some replaced; with another method, only those both have are kept.

    Args:
        attack: The run's ``attack``, as read.
        changes: The settings that the variant gives.

    Returns:
        The variant, to be validated.
    """
    if not (isinstance(attack, Mapping) and isinstance(changes, Mapping)):
        return changes
    method = attack.get("method", "sgd")
    if (other := changes.get("method", method)) != method:
        attack = {name: value for name, value in attack.items() if name in _shared(str(method), str(other))}
    return {**attack, **changes}
