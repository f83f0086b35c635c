"""A model of the grid, and one training of it."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, Field

from jacobian_ensembles.config.settings import Lambda, PositiveInt, Settings
from jacobian_ensembles.extensions.references import short_name


class GridCell(Settings):
    """One model of the grid: a dataset, an ensemble method, its number of learners and lambda.

    Attributes:
        dataset: One of grid.datasets.
        ensemble: One of grid.ensembles.
        members: One of grid.members.
        lambda_jr: One of grid.lambdas.
    """

    dataset: Annotated[str, AfterValidator(short_name)]
    ensemble: Annotated[str, AfterValidator(short_name)]
    members: PositiveInt
    lambda_jr: Annotated[Lambda, Field(alias="lambda")]


class ListedCell(GridCell):
    """A model as ``grid.cells`` lists it; it may have its own number of trainings.

    Attributes:
        repetitions: Trainings of this model; null for grid.repetitions.
    """

    repetitions: PositiveInt | None = None

    @property
    def model(self) -> GridCell:
        """The model alone."""
        return GridCell.model_construct(**self.model_dump(exclude={"repetitions"}))


class Cell(GridCell):
    """One training of a model of the grid; repetitions differ in every random draw."""

    repetition: Annotated[int, Field(ge=0)] = 0

    @property
    def identity(self) -> tuple[str | int | float, ...]:
        """What the seeds of an attack on it are derived from; this order is part of every result."""
        return self.dataset, self.ensemble, self.members, self.lambda_jr, self.repetition

    @property
    def record(self) -> dict[str, Any]:
        """As stored beside results: ``dataset``, ``ensemble``, ``members``, ``lambda`` and ``repetition``."""
        return self.model_dump(by_alias=True)
