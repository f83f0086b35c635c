"""Jacobian ensembles: Jacobian-regularised training, ensembles, universal perturbations, and their evaluation.

Axis letters used in every docstring: B batch, M members, C classes, D inputs (pixels), K attack seeds,
P projections. Inputs are float32 in [0, 1], of shape (B, 1, 28, 28) for the paper's LeNet; eps and lambda live in
that space.

The public interface; each name is imported on first use, and torch with it:

train_ensemble     train learners with Jacobian regularisation, or another defence, and combine them
craft_uaps         craft one universal perturbation per attack seed
evaluate           accuracy of any classifier, clean and under perturbations
Evaluation         what evaluate returns
success_rates      how often a perturbation with a target reaches it
certify            the accuracy that no perturbation up to a size can go below
Certificate        what certify returns
stress             is a model's robustness real? many attacks on it, and the flags they raise
jacobian_norm      the norm of a model's Jacobian at each image
load_dataset       a built-in dataset, or your own, obtained where it is missing: train, validation, test
load_split         training, validation or test images of a stored dataset
report_model       a model attacked at several eps, as one HTML page
shipped_models     the names of all ensembles that come with the package
load_ensemble      one of these, or one of a run, as a torch module
load_perturbation  a shipped ensemble's worst perturbation
save_perturbation  a perturbation as a picture, or as an array for other programs
load_correct       which test images a shipped ensemble classifies correctly
stored_file        the file of a stored ensemble
"""

import os
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jacobian_ensembles.attacks.crafting import craft_uaps as craft_uaps
    from jacobian_ensembles.attacks.targets import success_rates as success_rates
    from jacobian_ensembles.evaluation.jacobian_norms import jacobian_norm as jacobian_norm
    from jacobian_ensembles.evaluation.record import Evaluation as Evaluation
    from jacobian_ensembles.evaluation.record import evaluate as evaluate
    from jacobian_ensembles.robustness.certificates import Certificate as Certificate
    from jacobian_ensembles.robustness.certificates import certify as certify
    from jacobian_ensembles.robustness.stress import stress as stress
    from jacobian_ensembles.runs.zoo import load_correct as load_correct
    from jacobian_ensembles.runs.zoo import load_ensemble as load_ensemble
    from jacobian_ensembles.runs.zoo import load_perturbation as load_perturbation
    from jacobian_ensembles.runs.zoo import shipped_models as shipped_models
    from jacobian_ensembles.runs.zoo import stored_file as stored_file
    from jacobian_ensembles.stages.inputs import load_split as load_split
    from jacobian_ensembles.stages.obtaining import load_dataset as load_dataset
    from jacobian_ensembles.stages.report_model import report_model as report_model
    from jacobian_ensembles.storage.exchange import save_perturbation as save_perturbation
    from jacobian_ensembles.training.ensembles import train_ensemble as train_ensemble

# matplotlib cannot even be imported where this names a notebook's backend that is not installed
if os.environ.get("MPLBACKEND", "").startswith("module://"):
    _root = os.environ["MPLBACKEND"].removeprefix("module://").partition(".")[0]
    if not _root or find_spec(_root) is None:
        del os.environ["MPLBACKEND"]

__version__ = "0.2.0"

#: The public interface: the module each name lives in.
PUBLIC = {
    "Certificate": "robustness.certificates",
    "Evaluation": "evaluation.record",
    "certify": "robustness.certificates",
    "craft_uaps": "attacks.crafting",
    "evaluate": "evaluation.record",
    "jacobian_norm": "evaluation.jacobian_norms",
    "load_correct": "runs.zoo",
    "load_dataset": "stages.obtaining",
    "load_ensemble": "runs.zoo",
    "load_perturbation": "runs.zoo",
    "load_split": "stages.inputs",
    "report_model": "stages.report_model",
    "save_perturbation": "storage.exchange",
    "shipped_models": "runs.zoo",
    "stored_file": "runs.zoo",
    "stress": "robustness.stress",
    "success_rates": "attacks.targets",
    "train_ensemble": "training.ensembles",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use (PEP 562)."""
    if name not in PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{PUBLIC[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *PUBLIC])
