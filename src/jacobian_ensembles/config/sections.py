"""The sections of a configuration, but for the grid, the training and the attack."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from jacobian_ensembles.config.settings import Number, PositiveInt, Settings, Unit, the_papers
from jacobian_ensembles.config.training import Training
from jacobian_ensembles.config.values import expanded, numbers_in_text
from jacobian_ensembles.extensions.references import check_reference
from jacobian_ensembles.models.names import ARCHITECTURES
from jacobian_ensembles.paper.markup import csv


def _folder(path: str) -> str:
    if path == "." or path != path.strip() or not path.isprintable():
        raise ValueError(
            f"got {path!r}; give a folder, not the working folder itself, without spaces around its name or line breaks"
        )
    return path


def _code(reference: str) -> str:
    if ":" not in reference:
        raise ValueError(f"got {reference!r}; give path/to/file.py:function")
    return check_reference(reference, ())


class Run(Settings):
    """Where results go and how they are labelled.

    Attributes:
        name: Results go to <results>/<name>/; runs of different names never touch each other.
        results: Folder of all results, relative to where snakemake runs.
        banner: In every table and caption, its first words in figures; empty for a full run.
        keep: What target ship keeps beside tables and figures: bits (one per test image), perturbations, models.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$", max_length=100), the_papers("paper")]
    results: Annotated[str, Field(pattern=r"^[^{}]+$"), AfterValidator(expanded), AfterValidator(_folder)] = "results"
    banner: Annotated[str, AfterValidator(lambda text: csv(" ".join(text.split())))] = ""
    keep: tuple[Literal["bits", "perturbations", "models"], ...] = ("bits",)

    @field_validator("name")
    @classmethod
    def _not_a_folder_of_its_own(cls, name: str) -> str:
        if name in ("data", "reference", "rebuilt"):
            raise ValueError(f"got '{name}', a folder of the datasets or of shipped results; choose another name")
        return name


class Data(Settings):
    """Which images are used, and where they come from.

    Attributes:
        local_dir: Folder with the IDX files (or with a sub-folder per dataset); null downloads them.
        validation_images: Stratified, fixed, cut from the training set; every choice is made on them.
        train_images: Train on only this many images; null for all that the validation split leaves.
        test_images: Test on only this many images; null for all 10,000.
    """

    local_dir: Annotated[str, AfterValidator(expanded)] | None = None
    validation_images: Annotated[PositiveInt, Field(le=30_000)] = 5_000
    train_images: PositiveInt | None = None
    test_images: Annotated[PositiveInt, Field(le=10_000)] | None = None


class Model(Settings):
    """The network of every learner.

    Attributes:
        architecture: lenet, or path/to/file.py:object for one of your own.
        options: Keyword arguments of your own architecture.
        activation: Of a lenet: tanh (Hoffman et al. 2019) or relu.
        dropout: Of a lenet: after each of the first two linear layers, in [0, 1).
        normalize: Subtract the mean and divide by the deviation of the pixels, inside the model.
    """

    architecture: Annotated[str, AfterValidator(partial(check_reference, builtin=ARCHITECTURES))] = "lenet"
    options: Annotated[dict[str, Any], AfterValidator(numbers_in_text)] = Field(default_factory=dict)
    activation: Literal["tanh", "relu"] = "tanh"
    dropout: Annotated[Number, Field(ge=0, lt=1)] = 0.0
    normalize: bool = False

    @model_validator(mode="after")
    def _options_of_the_architecture(self) -> Model:
        lenet = self.architecture == "lenet"
        if lenet and self.options:
            raise ValueError(f"options: got {self.options}; they are for an architecture of your own, not for lenet")
        if not lenet and self.dropout:
            raise ValueError(f"dropout: got {self.dropout:g}, which is lenet's; give {self.architecture} its options")
        return self

    @property
    def network(self) -> dict[str, Any]:
        """What a learner's network depends on: ``architecture``, the ``options`` of its builder, ``normalize``."""
        lenet = {"activation": self.activation, "dropout": self.dropout}
        options = lenet if self.architecture == "lenet" else self.options
        return {"architecture": self.architecture, "options": options, "normalize": self.normalize}


class Stress(Settings):
    """What target ``stress`` does besides the attack and its variants.

    Attributes:
        transfer_eps: Those of grid.eps at which every model's strongest perturbation is tried on every other model.
        single_eps: Those at which images are attacked one by one (with the extra 'stress', if it is installed).
        single_images: How many test images are attacked so.
        single_iterations: Steps of these attacks.
    """

    transfer_eps: tuple[Unit, ...] = ()
    single_eps: tuple[Unit, ...] = ()
    single_images: Annotated[PositiveInt, Field(le=10_000)] = 1_000
    single_iterations: PositiveInt = 40

    @property
    def asked(self) -> bool:
        """Whether the settings ask for these tests, so that a run includes them even if its target is not named."""
        return bool(self.transfer_eps or self.single_eps)


class Trial(Settings):
    """One recipe of the training trials: the run's settings, with some of them replaced.

    Attributes:
        model: What differs from the run's own network.
        training: What differs from the run's own training.
    """

    model: Model
    training: Training


class Metrics(Settings):
    """How accuracies are summarised.

    Attributes:
        clean_weight: Weight of clean accuracy in weighted accuracy, in [0, 1]; mean UAP accuracy has the rest.
        confidence: Level of the Wilson intervals, in (0, 1).
        certify: Also prove what no perturbation of grid.eps can take (columns certified; linf, of a lenet or a
            sequential network).
    """

    clean_weight: Annotated[Number, Field(ge=0, le=1)] = 0.5
    confidence: Annotated[Number, Field(gt=0, lt=1)] = 0.95
    certify: bool = False


class Theory(Settings):
    """How the theorem is compared with trained nets.

    Attributes:
        images: Test images on which exact Jacobians are measured (targets theory, claims).
    """

    images: Annotated[PositiveInt, Field(le=10_000)] = 1_000


class Figures(Settings):
    """What the figures show.

    Attributes:
        eps: The eps of Figure 2; one of grid.eps.
        own: Figures of your own beside them, each path/to/file.py:function.
    """

    eps: Unit = 0.15
    own: tuple[Annotated[str, AfterValidator(_code)], ...] = ()


class Compute(Settings):
    """Where jobs run. Nothing here changes a result's identity, so nothing here triggers a re-run.

    Attributes:
        device: auto (a GPU if this machine has one), cpu, or cuda (on a cluster: say which).
        gpu_slots: How many jobs may share one GPU.
    """

    device: Literal["auto", "cpu", "cuda"] = "auto"
    gpu_slots: PositiveInt = 1
