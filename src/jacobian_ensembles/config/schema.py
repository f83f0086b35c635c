"""The configuration: one frozen, validated object from which every path, wildcard and setting comes.

Unknown keys, duplicate values and combinations that cannot be trained are refused before any work starts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator

from jacobian_ensembles.config.attack import Attack, Variant, variant_of
from jacobian_ensembles.config.cells import Cell
from jacobian_ensembles.config.grid import Grid
from jacobian_ensembles.config.messages import describe
from jacobian_ensembles.config.sections import Compute, Data, Figures, Metrics, Model, Run, Stress, Theory, Trial
from jacobian_ensembles.config.settings import Settings, whole
from jacobian_ensembles.config.training import Training
from jacobian_ensembles.config.values import expanded
from jacobian_ensembles.ensembles.methods import METHODS, Method
from jacobian_ensembles.extensions.references import resolve, short_name

VariantName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$", max_length=100)]


class ConfigError(ValueError):
    """The configuration cannot be used; the message lists every problem found.

    Attributes:
        problems: A line each, beginning with the key it is about; empty if the message is of another kind.
    """

    problems: tuple[str, ...] = ()

    @classmethod
    def of(cls, problems: Sequence[str], *remarks: str) -> ConfigError:
        """The error that lists problems, and remarks below them."""
        lines = ["The configuration cannot be used:", *(f"  {problem}" for problem in problems), *remarks]
        error = cls("\n".join(lines))
        error.problems = tuple(problems)
        return error


class Config(Settings):
    """The whole configuration; build it with :func:`load_config`.

    Attributes:
        run: Where results go and how they are labelled.
        seed: Base seed of every random draw (initial weights, orders, bootstraps, attacks).
        grid: The models of the run: the product of these lists.
        data: Which images are used, and where they come from.
        model: The network of every learner.
        training: How learners are trained.
        attack: Universal perturbations.
        metrics: How accuracies are summarised.
        theory: How the theorem is compared with trained nets.
        figures: What the figures show.
        compute: Where jobs run; changing it re-runs nothing.
        trials: Training recipes to compare on the validation split (target: recipe), see presets/recipe.yaml.
        ablation: Attack variants to compare, at all or some eps (target: ablation), see presets/attacks.yaml.
        compare: Folders of finished or shipped runs to compare this one with (target: compare), docs/defences.md.
        stress: Tests of robustness besides the attack's variants (target: stress), see presets/stress.yaml.
    """

    run: Run
    seed: Annotated[int, Field(ge=0), BeforeValidator(whole)] = 0
    grid: Grid
    data: Data = Data()
    model: Model = Model()
    training: Training = Training()
    attack: Attack = Attack()
    metrics: Metrics = Metrics()
    theory: Theory = Theory()
    figures: Figures = Figures()
    compute: Compute = Compute()
    trials: dict[VariantName, Trial] = Field(default_factory=dict)
    ablation: dict[VariantName, Variant] = Field(default_factory=dict)
    compare: tuple[Annotated[str, AfterValidator(expanded)], ...] = ()
    stress: Stress = Stress()

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
        for key, fill in (("trials", complete), ("ablation", lambda changes: variant_of(raw.get("attack"), changes))):
            if isinstance(raw.get(key), Mapping):
                out[key] = {name: fill(variant or {}) for name, variant in raw[key].items()}
        return out

    @model_validator(mode="after")
    def _consistent(self) -> Config:
        problems = []
        epochs = self.training.snapshot_epochs
        built_in = {name for name, method in METHODS.items() if method.cyclic}
        misfits = sorted({c.members for c in self.cells if c.ensemble in built_in and epochs % c.members})
        if misfits:
            problems.append(
                f"training.snapshot_epochs: got {epochs}, which does not divide into "
                f"{' or '.join(map(str, misfits))} equal cycles; give a multiple of every entry of grid.members"
            )
        if self.metrics.certify and self.attack.norm != "linf":
            problems.append(
                f"metrics.certify: got true with attack.norm {self.attack.norm}; bounds are for linf, so give false"
            )
        if self.figures.eps not in self.grid.eps:
            allowed = ", ".join(f"{eps:.12g}" for eps in self.grid.eps)
            problems.append(f"figures.eps: got {self.figures.eps:.12g}; give one of grid.eps, {allowed}")
        subsets = {f"ablation.{name}.eps": variant.eps or () for name, variant in self.ablation.items()}
        subsets |= {"stress.transfer_eps": self.stress.transfer_eps, "stress.single_eps": self.stress.single_eps}
        for where, values in subsets.items():
            if odd := sorted(set(values) - set(self.grid.eps)):
                allowed = ", ".join(f"{eps:.12g}" for eps in self.grid.eps)
                problems.append(f"{where}: got {odd[0]:.12g}; give some of grid.eps, {allowed}")
        if problems:
            raise ValueError("\n".join(problems))
        return self

    def reference(self, name: str) -> str:
        """The reference to the dataset or ensemble method that paths call ``name``, or else the name itself."""
        return next((r for r in (*self.grid.datasets, *self.grid.ensembles) if short_name(r) == name), name)

    def in_one_job(self, ensemble: str) -> bool:
        """Whether a method's M learners are snapshots of one run, or joined by the objective: these do not nest.

        Raises:
            ConfigError: If both: snapshots of one run cannot be trained side by side.
        """
        cyclic, coupled = self.is_cyclic(ensemble), self.training.coupled
        if cyclic and coupled:
            got = f"training.objective: got {self.training.objective}, which joins learners trained side by side"
            raise ConfigError(f"{got}; those of {ensemble} are snapshots of one. Give grid.ensembles without it")
        return cyclic or coupled

    def is_cyclic(self, ensemble: str) -> bool:
        """Whether the learners of an ensemble method are snapshots of one run, as the method itself says.

        Args:
            ensemble: The method's name in paths, one of :attr:`ensembles`.

        Raises:
            ConfigError: If a cyclic run of the user's method cannot be split into the cycles that the grid asks for.
        """
        return self.cyclic[ensemble]

    @cached_property
    def cyclic(self) -> dict[str, bool]:
        """What :meth:`is_cyclic` says of each ensemble method of the grid. A user's file is run to find out."""
        found = {name: bool(resolve(self.reference(name), METHODS, Method).cyclic) for name in self.ensembles}
        epochs = self.training.snapshot_epochs
        for cell in self.cells:
            if found[cell.ensemble] and epochs % cell.members:
                raise ConfigError(
                    f"training.snapshot_epochs: got {epochs}, which {cell.members} cycles of {cell.ensemble} cannot "
                    "share; give a multiple of every entry of grid.members"
                )
        return found

    @property
    def banner(self) -> str:
        """What figures and tables say about a run that is not the paper's: see :func:`banner_of`."""
        return banner_of(self.run.banner, self.training.objective, self.attack.method)

    @property
    def ensembles(self) -> list[str]:
        """The names of the ensemble methods, as paths spell them."""
        return [short_name(reference) for reference in self.grid.ensembles]

    @property
    def datasets(self) -> list[str]:
        """The names of the datasets, as paths spell them."""
        return [short_name(reference) for reference in self.grid.datasets]

    @cached_property
    def cells(self) -> list[Cell]:
        """The trainings of this run: its models in the order of the grid, each with its repetitions."""
        return self.grid.trainings()

    @property
    def repetitions(self) -> int:
        """The most trainings that a model of this run has."""
        return max(Counter(cell.identity[:-1] for cell in self.cells).values())


def banner_of(banner: str, objective: str, attack: str) -> str:
    """A run's own banner, and any objective or attack that is not the paper's."""
    others = [
        f"learners minimise '{short_name(objective)}' at strength λ, not the paper's" * (objective != "jacobian"),
        f"perturbations are crafted by '{short_name(attack)}', not by the paper's attack" * (attack != "sgd"),
    ]
    return "; ".join(filter(None, (banner, *others)))


def load_config(raw: Mapping[str, Any]) -> Config:
    """Validate a configuration mapping, as read from YAML with its overlays merged in.

    Args:
        raw: The nested mapping.

    Returns:
        The frozen configuration.

    Raises:
        ConfigError: If it cannot be used; one line per problem: where it is, what was given, what is allowed.
    """
    if not isinstance(raw, Mapping):
        raise ConfigError(f"The configuration must be a mapping of sections. Got {type(raw).__name__}.")
    try:
        return Config.model_validate(dict(raw))
    except ValidationError as error:
        raise ConfigError.of([line for e in error.errors() for line in describe(e, Config).split("\n")]) from None
