"""The configuration: one frozen, validated object from which every path, wildcard and setting comes.

Unknown keys, duplicate values and combinations that cannot be trained are refused before any work starts.
"""

from __future__ import annotations

import difflib
import re
import types
import typing
from collections.abc import Mapping
from functools import partial
from itertools import product
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from jacobian_ensembles.experiment.extensions import check_reference, short_name

#: What is built in, by kind. Tests hold these against the dictionaries of the modules that define them.
DATASETS = ("mnist", "fashion_mnist")
ENSEMBLES = ("bagging", "snapshot", "voting")
ARCHITECTURES = ("lenet",)
ATTACKS = ("sgd",)
DatasetRef = Annotated[str, AfterValidator(partial(check_reference, builtin=DATASETS))]
EnsembleRef = Annotated[str, AfterValidator(partial(check_reference, builtin=ENSEMBLES))]
SplitName = Literal["train", "validation", "test"]


def _whole(value: Any) -> Any:
    """Refuse true and 1.5 as integers, but accept "3": Snakemake's --config passes numbers as text."""
    if isinstance(value, bool | float):
        raise ValueError(f"got {value!r}; give a whole number")
    return value


def _number(value: Any) -> Any:
    """Refuse true as the number 1."""
    if isinstance(value, bool):
        raise ValueError(f"got {value!r}; give a number")
    return value


PositiveInt = Annotated[int, Field(ge=1), BeforeValidator(_whole)]
Unit = Annotated[float, Field(gt=0, le=1), BeforeValidator(_number)]
VariantName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$")]


class ConfigError(ValueError):
    """The configuration cannot be used; the message lists every problem found."""


def _unique(values: Any) -> Any:
    """Refuse an empty or repeating list: a repeated value would be one cell with two names."""
    if isinstance(values, list | tuple):
        if not values:
            raise ValueError("the list is empty; give at least one value")
        repeated = sorted({f"{v:g}" if isinstance(v, float) else str(v) for v in values if values.count(v) > 1})
        if repeated:
            raise ValueError(f"duplicate values {', '.join(repeated)}; give each value once")
    return values


_T = TypeVar("_T")
# checked again as numbers: 0.1 and "1e-1" differ as YAML but are one value
_Values = Annotated[tuple[_T, ...], BeforeValidator(_unique), AfterValidator(_unique)]


def _distinct(references: tuple[str, ...]) -> tuple[str, ...]:
    names = [short_name(reference) for reference in references]
    for reference, name in zip(references, names, strict=True):
        if names.count(name) > 1:
            raise ValueError(f"got {reference!r} beside another '{name}'; results could not tell them apart")
    return references


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Run(_Frozen):
    """Where results go and how they are labelled."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$")]
    results: Annotated[str, Field(min_length=1)] = "results"
    banner: str = ""

    @field_validator("name")
    @classmethod
    def _not_a_folder_of_its_own(cls, name: str) -> str:
        if name in ("data", "reference", "rebuilt"):
            raise ValueError(f"got '{name}', a folder of the datasets or of shipped results; choose another name")
        return name


class GridCell(_Frozen):
    """One model of the grid: a dataset, an ensemble method, its number of learners and lambda."""

    dataset: Annotated[str, AfterValidator(short_name)]
    ensemble: Annotated[str, AfterValidator(short_name)]
    members: PositiveInt
    lambda_jr: Annotated[float, Field(ge=0, alias="lambda")]


class Cell(GridCell):
    """One training of a model of the grid; repetitions differ in every random draw."""

    repetition: Annotated[int, Field(ge=0)] = 0


class Grid(_Frozen):
    """The experiment grid: the product of the lists, or only ``cells`` of it, each trained ``repetitions`` times."""

    datasets: Annotated[_Values[DatasetRef], AfterValidator(_distinct)]
    ensembles: Annotated[_Values[EnsembleRef], AfterValidator(_distinct)]
    members: _Values[PositiveInt]
    lambdas: _Values[Annotated[float, Field(ge=0), BeforeValidator(_number)]]
    eps: _Values[Unit]
    repetitions: PositiveInt = 1
    cells: _Values[GridCell] | None = None

    @model_validator(mode="after")
    def _cells_of_the_product(self) -> Grid:
        both = set(map(short_name, self.datasets)) & set(map(short_name, self.ensembles))
        if both:
            raise ValueError(f"'{both.pop()}' names both a dataset and an ensemble method; rename one of your own")
        allowed = set(self.product())
        for cell in self.cells or ():
            if cell not in allowed:
                raise ValueError(
                    f"grid.cells: got {cell.dataset} {cell.ensemble} M={cell.members} lambda={cell.lambda_jr:g}, "
                    "which is not in the product of datasets, ensembles, members and lambdas"
                )
        return self

    def product(self) -> list[GridCell]:
        """All cells of the product of the lists, in their order."""
        datasets, ensembles = map(short_name, self.datasets), map(short_name, self.ensembles)
        axes = (datasets, ensembles, self.members, self.lambdas)
        return [
            GridCell.model_construct(dataset=d, ensemble=e, members=m, lambda_jr=lam) for d, e, m, lam in product(*axes)
        ]


class Data(_Frozen):
    """Which images are used, and where they come from."""

    local_dir: str | None = None
    validation_images: Annotated[PositiveInt, Field(le=30_000)] = 5_000
    train_images: PositiveInt | None = None
    test_images: Annotated[PositiveInt, Field(le=10_000)] | None = None


class Model(_Frozen):
    """The network of every learner."""

    architecture: Annotated[str, AfterValidator(partial(check_reference, builtin=ARCHITECTURES))] = "lenet"
    options: dict[str, Any] = {}
    activation: Literal["tanh", "relu"] = "tanh"
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    normalize: bool = False

    @model_validator(mode="after")
    def _options_of_the_architecture(self) -> Model:
        lenet = self.architecture == "lenet"
        if lenet and self.options:
            raise ValueError(f"options: got {self.options}; they are for an architecture of your own, not for lenet")
        if not lenet and self.dropout:
            raise ValueError(f"dropout: got {self.dropout:g}, which is lenet's; give {self.architecture} its options")
        return self


class Training(_Frozen):
    """How a learner is trained."""

    optimizer: Literal["adam", "sgd"] = "adam"
    learning_rate: Annotated[float, Field(gt=0)] = 3e-3
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    batch_size: PositiveInt = 100
    epochs: PositiveInt = 8
    snapshot_epochs: PositiveInt = 18
    projections: PositiveInt = 1


class Attack(_Frozen):
    """How universal perturbations are crafted."""

    method: Annotated[str, AfterValidator(partial(check_reference, builtin=ATTACKS))] = "sgd"
    seeds: PositiveInt = 50
    seeds_per_job: PositiveInt = 50
    iterations: Annotated[int, Field(ge=0), BeforeValidator(_whole)] = 100
    batch_size: PositiveInt = 200
    init: Literal["zero", "uniform", "sign"] = "zero"
    step: Annotated[float, Field(gt=0)] = 0.8
    step_rule: Literal["constant", "decay"] = "constant"
    loss_cap: Annotated[float, Field(gt=0)] | None = 12.0
    clip: bool = False
    split: SplitName = "train"

    def seed_blocks(self) -> list[tuple[int, int]]:
        """The (first, last) attack seed of every crafting job, both ends included."""
        size = self.seeds_per_job
        return [(first, min(first + size, self.seeds) - 1) for first in range(0, self.seeds, size)]


class Trial(_Frozen):
    """One recipe of the training trials: the run's settings, with some of them replaced."""

    model: Model
    training: Training


class Metrics(_Frozen):
    """How accuracies are summarised."""

    clean_weight: Annotated[float, Field(ge=0, le=1)] = 0.5
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95


class Theory(_Frozen):
    """How the theorem is compared with trained nets."""

    images: Annotated[PositiveInt, Field(le=10_000)] = 1_000


class Figures(_Frozen):
    """What the figures show."""

    eps: Unit = 0.15


class Compute(_Frozen):
    """Where jobs run. Nothing here changes a result's identity, so nothing here triggers a re-run."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    gpu_slots: PositiveInt = 1


class Config(_Frozen):
    """The whole configuration; build it with :func:`load_config`."""

    run: Run
    seed: Annotated[int, Field(ge=0), BeforeValidator(_whole)] = 0
    grid: Grid
    data: Data = Data()
    model: Model = Model()
    training: Training = Training()
    attack: Attack = Attack()
    metrics: Metrics = Metrics()
    theory: Theory = Theory()
    figures: Figures = Figures()
    compute: Compute = Compute()
    trials: dict[VariantName, Trial] = {}
    ablation: dict[VariantName, Attack] = {}

    @model_validator(mode="before")
    @classmethod
    def _complete_variants(cls, raw: dict[str, Any]) -> dict[str, Any]:
        """Trials and attack variants say only what differs from the run's own settings."""

        def over(section: str, changes: Any) -> Any:
            base = raw.get(section)
            return {**base, **changes} if isinstance(base, Mapping) and isinstance(changes, Mapping) else changes

        def complete(trial: Any) -> Any:
            if not isinstance(trial, Mapping):
                return trial
            return {**trial, **{section: over(section, trial.get(section, {})) for section in Trial.model_fields}}

        out = dict(raw)
        for key, fill in (("trials", complete), ("ablation", lambda changes: over("attack", changes))):
            if isinstance(raw.get(key), Mapping):
                out[key] = {name: fill(variant or {}) for name, variant in raw[key].items()}
        return out

    @model_validator(mode="after")
    def _consistent(self) -> Config:
        problems = []
        epochs = self.training.snapshot_epochs
        misfits = sorted({c.members for c in self.cells if c.ensemble == "snapshot" and epochs % c.members})
        if misfits:
            problems.append(
                f"training.snapshot_epochs: got {epochs}, which does not divide into "
                f"{' or '.join(map(str, misfits))} equal cycles; give a multiple of every entry of grid.members"
            )
        if self.figures.eps not in self.grid.eps:
            allowed = ", ".join(f"{eps:g}" for eps in self.grid.eps)
            problems.append(f"figures.eps: got {self.figures.eps:g}; give one of grid.eps, {allowed}")
        if problems:
            raise ValueError("\n  ".join(problems))
        return self

    def reference(self, name: str) -> str:
        """What leads to the dataset or ensemble method that paths call ``name``: its reference, or its own name."""
        return next((r for r in (*self.grid.datasets, *self.grid.ensembles) if short_name(r) == name), name)

    @property
    def datasets(self) -> list[str]:
        """The names of the datasets, as paths spell them."""
        return [short_name(reference) for reference in self.grid.datasets]

    @property
    def cells(self) -> list[Cell]:
        """The trainings of this run: its models in the order of the grid, each with its repetitions."""
        chosen = self.grid.cells
        return [
            Cell.model_construct(**dict(cell), repetition=repetition)
            for cell in self.grid.product()
            if chosen is None or cell in chosen
            for repetition in range(self.grid.repetitions)
        ]


def _fields_at(location: tuple[int | str, ...]) -> list[str]:
    """The keys allowed in the section at ``location``, for suggestions; empty when it is not a section."""
    model: Any = Config
    for part in location:
        if isinstance(part, int):
            continue
        if typing.get_origin(model) is dict:  # the part is a name the user chose
            model = typing.get_args(model)[1]
            continue
        if not (isinstance(model, type) and issubclass(model, BaseModel)) or part not in model.model_fields:
            return []
        model = model.model_fields[part].annotation
        while typing.get_origin(model) in (Annotated, tuple, typing.Union, types.UnionType):
            model = typing.get_args(model)[0]
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        return []
    return [field.alias or name for name, field in model.model_fields.items()]


def _describe(error: Any) -> str:
    *section, key = error["loc"] or ("",)
    where = ".".join(map(str, error["loc"]))
    if error["type"] == "extra_forbidden":
        allowed = _fields_at(tuple(section))
        close = difflib.get_close_matches(str(key), allowed, n=1)
        hint = f"; did you mean '{close[0]}'?" if close else "."
        return f"{where}: unknown key{hint} Allowed here: {', '.join(allowed)}."
    if error["type"] == "missing":
        return f"{where}: this key is missing."
    message = error["msg"].removeprefix("Value error, ").replace("valid tuple", "list")
    message = re.sub(r" or instance of \w+", "", message)
    got = error["input"]
    if error["type"] == "value_error" or isinstance(got, Mapping):
        return f"{where}: {message}" if where and not message.startswith(f"{where}.") else message
    return f"{where}: got {got!r}. {message}."


def load_config(raw: Mapping[str, Any]) -> Config:
    """Validate a configuration mapping, as read from YAML with its overlays merged in.

    Args:
        raw: The nested mapping.

    Returns:
        The frozen configuration.

    Raises:
        ConfigError: With one line per problem: where it is, what was got, what is allowed.
    """
    if not isinstance(raw, Mapping):
        raise ConfigError(f"The configuration must be a mapping of sections. Got {type(raw).__name__}.")
    try:
        return Config.model_validate(dict(raw))
    except ValidationError as error:
        problems = "\n".join(f"  {_describe(e)}" for e in error.errors())
        raise ConfigError(f"The configuration cannot be used:\n{problems}") from None
