"""The section ``training`` of a configuration. No torch."""

from __future__ import annotations

from functools import cached_property, partial
from pkgutil import resolve_name
from typing import Annotated, Any

from pydantic import AfterValidator, Field, ValidationError, model_validator

from jacobian_ensembles.config.messages import describe
from jacobian_ensembles.config.settings import PositiveInt
from jacobian_ensembles.config.values import numbers_in_text
from jacobian_ensembles.extensions.references import check_reference, resolve
from jacobian_ensembles.training.objectives.registry import OBJECTIVES
from jacobian_ensembles.training.recipe import Recipe


class Training(Recipe):
    """How learners are trained: the recipe, the length of a whole cyclic run, and the objective with its options.

    Attributes:
        epochs: Of each bagging or voting learner.
        snapshot_epochs: Of a whole snapshot run, split into M equal cycles: a multiple of every M.
        objective: jacobian, input_gradient, noise, universal, shared, adversarial, decorrelated, ibp, or
            file.py:object.
        options: Keyword arguments of the objective: docs/defences.md.
    """

    snapshot_epochs: PositiveInt = 18
    objective: Annotated[str, AfterValidator(partial(check_reference, builtin=OBJECTIVES))] = "jacobian"
    options: Annotated[dict[str, Any], AfterValidator(numbers_in_text)] = Field(default_factory=dict)

    @property
    def _kind(self) -> Any:
        """The class of a built-in objective; None for a user's, whose file a plan does not run."""
        return resolve_name(OBJECTIVES[self.objective]) if self.objective in OBJECTIVES else None

    @model_validator(mode="after")
    def _options_of_the_objective(self) -> Training:
        if (kind := self._kind) and self.options:
            if not kind.Options.model_fields:
                raise ValueError(f"options: got {self.options}; the objective {self.objective} has none")
            try:
                kind.Options(**self.options)
            except ValidationError as error:
                problems = [f"options.{describe(e, kind.Options)}" for e in error.errors()]
                raise ValueError("\n".join(problems)) from None
        return self

    @property
    def goal(self) -> dict[str, Any]:
        """What an objective depends on besides its strength: its name or reference, and its complete options."""
        kind = self._kind
        options = kind.Options(**self.options).model_dump() if kind else self.options
        return {"objective": self.objective, "options": options}

    def recipe(self, cyclic: bool) -> Recipe:
        """The recipe of one learner, or of a cyclic run."""
        own = self.model_dump(include=set(Recipe.model_fields))
        return Recipe(**own | ({"epochs": self.snapshot_epochs, "schedule": "cosine"} if cyclic else {}))

    @cached_property
    def coupled(self) -> bool:
        """Whether the objective joins the learners of an ensemble, as the objective itself says.

        A user's file is run to find out.
        """
        return bool(getattr(resolve(self.objective, OBJECTIVES), "together", False))
