"""The experiment grid: which models are trained, and how often."""

from __future__ import annotations

from collections import Counter
from functools import partial
from itertools import product
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from jacobian_ensembles.config.cells import Cell, GridCell, ListedCell
from jacobian_ensembles.config.settings import Lambda, PositiveInt, Settings, Unit, the_papers, whole
from jacobian_ensembles.data.cards import CARDS
from jacobian_ensembles.ensembles.methods import METHODS
from jacobian_ensembles.extensions.references import check_reference, short_name

DatasetRef = Annotated[str, AfterValidator(partial(check_reference, builtin=CARDS))]
EnsembleRef = Annotated[str, AfterValidator(partial(check_reference, builtin=METHODS))]


def _some(values: Any) -> Any:
    if isinstance(values, list | tuple) and not values:
        raise ValueError("the list is empty; give at least one value")
    return values


_T = TypeVar("_T")


def _unique(values: tuple[_T, ...]) -> tuple[_T, ...]:
    """Refuse a repeating list, once its values are numbers: 0.1 and "1e-1" differ as text but would be one cell."""
    repeated = [f"{v:.12g}" if isinstance(v, float) else str(v) for v, n in Counter(values).items() if n > 1]
    if repeated:
        raise ValueError(f"duplicate values {', '.join(repeated)}; give each value once")
    return values


Values = Annotated[tuple[_T, ...], BeforeValidator(_some), AfterValidator(_unique)]


def _distinct(references: tuple[str, ...]) -> tuple[str, ...]:
    names = [short_name(reference) for reference in references]
    for reference, name in zip(references, names, strict=True):
        if names.count(name) > 1:
            raise ValueError(f"got {reference!r} beside another '{name}'; results could not tell them apart")
    return references


def _spelled(cell: GridCell) -> str:
    return f"{cell.dataset} {cell.ensemble} M={cell.members} lambda={cell.lambda_jr:.12g}"


class Grid(Settings):
    """The experiment grid: the product of the lists, or only ``cells`` of it, each trained ``repetitions`` times.

    Attributes:
        datasets: mnist, fashion_mnist, or path/to/file.py:object for one of your own.
        ensembles: bagging (bootstrap resamples), snapshot (cyclic learning rate), voting (seeds only), or
            path/to/file.py:object.
        members: M, learners per ensemble.
        lambdas: Strength of Jacobian regularisation (Eq. 1), inputs in [0, 1]; for another training.objective, its
            strength; 0 is plain training.
        eps: Radius of the perturbation (see attack.norm), in (0, 1], in pixel units.
        repetitions: Trainings of every model, each with its own random draws.
        first_repetition: Number of the first of them; a part of a longer run starts later, and is joined with the rest.
            A training's random draws depend on its number, not on which part it is in.
        cells: Only these models of the product: a list of {dataset, ensemble, members, lambda[, repetitions]}; null for
            all.
    """

    datasets: Annotated[Values[DatasetRef], AfterValidator(_distinct), the_papers(["mnist", "fashion_mnist"])]
    ensembles: Annotated[Values[EnsembleRef], AfterValidator(_distinct), the_papers(["bagging", "snapshot", "voting"])]
    members: Annotated[Values[PositiveInt], the_papers([1, 3, 6, 9])]
    lambdas: Annotated[Values[Lambda], the_papers([0, 0.01, 0.05, 0.1, 0.2, 0.5, 1, 2])]
    eps: Annotated[Values[Unit], the_papers([0.1, 0.15, 0.2, 0.25])]
    repetitions: PositiveInt = 1
    first_repetition: Annotated[int, Field(ge=0), BeforeValidator(whole)] = 0
    cells: Annotated[tuple[ListedCell, ...], BeforeValidator(_some)] | None = None

    @model_validator(mode="after")
    def _cells_of_the_product(self) -> Grid:
        both = set(map(short_name, self.datasets)) & set(map(short_name, self.ensembles))
        if both:
            raise ValueError(f"'{both.pop()}' names both a dataset and an ensemble method; rename one of your own")
        allowed = set(self.product())
        listed = Counter(cell.model for cell in self.cells or ())
        for cell, times in listed.items():
            if times > 1:
                raise ValueError(f"grid.cells: {_spelled(cell)} is there twice; give each model once")
            if cell not in allowed:
                raise ValueError(
                    f"grid.cells: got {_spelled(cell)}, which is not in the product of datasets, ensembles, members "
                    "and lambdas"
                )
        return self

    def product(self) -> list[GridCell]:
        """All cells of the product of the lists, in their order."""
        datasets, ensembles = map(short_name, self.datasets), map(short_name, self.ensembles)
        axes = (datasets, ensembles, self.members, self.lambdas)
        return [
            GridCell.model_construct(dataset=d, ensemble=e, members=m, lambda_jr=lam) for d, e, m, lam in product(*axes)
        ]

    def trainings(self) -> list[Cell]:
        """Every training of every model: the models in the order of the product, each with its repetitions."""
        models = dict.fromkeys(self.product(), self.repetitions)
        if self.cells is not None:
            listed = {cell.model: cell.repetitions or self.repetitions for cell in self.cells}
            models = {model: listed[model] for model in models if model in listed}
        return [
            Cell.model_construct(**dict(model), repetition=repetition)
            for model, repetitions in models.items()
            for repetition in range(self.first_repetition, self.first_repetition + repetitions)
        ]
