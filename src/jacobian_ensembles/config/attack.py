"""The attack of a run, and its variants: which one, with which options, how many seeds, on which images. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, Field, ValidationError, model_validator

from jacobian_ensembles.attacks.registry import ATTACKS, BLACK_BOX
from jacobian_ensembles.attacks.settings import SgdSettings, SquareSettings, StagedSettings
from jacobian_ensembles.config.grid import Values
from jacobian_ensembles.config.messages import describe
from jacobian_ensembles.config.settings import PositiveInt, Unit
from jacobian_ensembles.config.values import numbers_in_text
from jacobian_ensembles.extensions.references import check_reference

#: The settings that every attack shares: how many perturbations, on which images, how they are applied and bounded; and
#: those that staged shares, too: the cost of a seed, from which its budget is computed.
_OF_ALL = {"seeds", "seeds_per_job", "split", "clip", "norm"}
_OF_STAGED = {"iterations", "batch_size"}


class Attack(SgdSettings):
    """How universal perturbations are crafted: the attack with its options, how many, and on which images."""

    method: Annotated[str, AfterValidator(partial(check_reference, builtin=ATTACKS))] = "sgd"
    options: Annotated[dict[str, Any], AfterValidator(numbers_in_text)] = Field(default_factory=dict)
    seeds: PositiveInt = 50
    seeds_per_job: PositiveInt = 50
    members: Annotated[int, Field(ge=0)] = 0
    split: Literal["train", "validation", "test"] = "train"

    @model_validator(mode="after")
    def _options_of_the_method(self) -> Attack:
        if self.method == "sgd" and self.options:
            raise ValueError(f"options: got {self.options}; they are for another attack, not for sgd")
        default = SgdSettings()
        for name in () if self.method == "sgd" else SgdSettings.model_fields:
            if name not in _shared(self.method) and getattr(self, name) != getattr(default, name):
                got = getattr(self, name)
                raise ValueError(f"{name}: got {got}, an option of sgd; give {self.method} its own, as options")
        if self.target == "class":
            raise ValueError(
                "target: got 'class', whose perturbations are for the images of one class, where a run measures each "
                "on all; give none or each, or call craft_uaps(..., target='class') in Python"
            )
        if self.method == "staged":
            self._staged()
        if self.method == "square":
            self._square()
        return self

    def _staged(self) -> StagedSettings:
        own = {"budget": self.seeds, **self.model_dump(include={"clip", "norm", *_OF_STAGED})}
        for name in own.keys() & self.options:
            where = "seeds, whose steps it spends" if name == "budget" else name
            raise ValueError(f"options.{name}: got {self.options[name]!r}; say it as attack.{where}")
        return _options_as(StagedSettings, {**self.options, **own})

    def _square(self) -> SquareSettings:
        if self.norm != "linf":
            raise ValueError(f"norm: got '{self.norm}'; square searches within linf only")
        if "clip" in self.options:
            raise ValueError(f"options.clip: got {self.options['clip']!r}; say it as attack.clip")
        return _options_as(SquareSettings, {**self.options, "clip": self.clip})

    def recipe(self) -> dict[str, Any]:
        """What a perturbation depends on besides its seed."""
        options = self.options
        if self.method == "sgd":
            options = self.model_dump(include=set(SgdSettings.model_fields))
        elif self.method == "staged":
            options = self._staged().model_dump()
        elif self.method == "square":
            options = self._square().model_dump()
        how = {"split": self.split, "clip": self.clip, "norm": self.norm}
        return {"method": self.method, "options": options, **how}

    @property
    def kind(self) -> str:
        """What an attack knows of the model: ``noise``, nothing; ``black box``, scores; ``white box``, gradients."""
        if self.method in BLACK_BOX:
            return "black box"
        return "noise" if self.method == "sgd" and not self.iterations else "white box"

    @property
    def steps(self) -> int | None:
        """Steps, or queries, for each perturbation; None where only the attack itself knows."""
        if self.method == "square":
            return self._square().queries
        steps = self.iterations * self.seeds if self.method == "staged" else self.iterations
        return steps if self.method in ATTACKS else None

    @property
    def family(self) -> str:
        """What attacks by ``sgd`` that differ only in their number of steps have in common; empty for others."""
        if self.method != "sgd" or not self.iterations:
            return ""
        default = type(self)()
        own = {name: getattr(self, name) for name in SgdSettings.model_fields if name != "iterations"}
        changed = [f"{name} {value}" for name, value in own.items() if value != getattr(default, name)]
        return ", ".join(["sgd", f"split {self.split}", *changed])

    @property
    def perturbations(self) -> int:
        """How many perturbations are crafted: one per seed, or the one that ``staged`` spends all their steps on."""
        return 1 if self.method == "staged" else self.seeds

    def seed_blocks(self) -> list[tuple[int, int]]:
        """The (first, last) attack seed of every crafting job, both ends included."""
        size, count = self.seeds_per_job, self.perturbations
        return [(first, min(first + size, count) - 1) for first in range(0, count, size)]


class Variant(Attack):
    """A variant of the attack, at all of the run's eps or at some."""

    eps: Values[Unit] | None = None


_Options = TypeVar("_Options", StagedSettings, SquareSettings)


def _options_as(kind: type[_Options], options: Mapping[str, Any]) -> _Options:
    """An attack's options as its settings; an error says in one line what is wrong with them."""
    try:
        return kind(**options)
    except ValidationError as error:
        problems = [describe(e, kind) for e in error.errors()]
        raise ValueError("; ".join(f"options.{problem}" for problem in problems)) from None


def _shared(*methods: str) -> set[str]:
    """The settings that mean the same for all the attacks named."""
    return _OF_ALL | _OF_STAGED if {"sgd", "staged"}.issuperset(methods) else _OF_ALL


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
