"""The commands that train, attack and evaluate one model, with the workflow's code and settings."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from jacobian_ensembles.cli.options import AddCommand, check_output, compute, eps, natural, number, positive, settings
from jacobian_ensembles.config.cells import Cell
from jacobian_ensembles.config.reading import read_config
from jacobian_ensembles.config.schema import Config, ConfigError
from jacobian_ensembles.extensions.references import ExtensionError, resolve, short_name, source_file
from jacobian_ensembles.runs.devices import claim_gpu, prepare_device, wants_gpu
from jacobian_ensembles.storage.exchange import ENDINGS, save_perturbation
from jacobian_ensembles.storage.files import ArtifactError, read_header

if TYPE_CHECKING:
    from torch import nn

    from jacobian_ensembles.stages.inputs import StoredImages

_MODEL = (
    "a file that train or the workflow wrote, the name of a shipped model (table1/mnist/snapshot/M3/lambda0.50), or "
    "path/to/file.py:function, a function without arguments that returns your own nn.Module from images in [0, 1] to "
    "logits"
)


def _one_cell(dataset: str, ensemble: str = "voting", members: int = 1, lambda_jr: float = 0.0) -> dict[str, Any]:
    return {"datasets": [dataset], "ensembles": [ensemble], "members": [members], "lambdas": [lambda_jr]}


@contextmanager
def _device(cfg: Config, threads: int) -> Iterator[str]:
    """The device to compute on, claimed as a job of the workflow claims it; torch then uses ``threads`` CPU threads."""
    with ExitStack() as stack:
        gpu = wants_gpu(cfg.compute.device)
        if gpu:
            stack.enter_context(claim_gpu(cfg.compute.gpu_slots))
        import torch  # after the GPU is chosen

        torch.set_num_threads(threads)
        yield prepare_device("cuda" if gpu else "cpu").type


def _images(cfg: Config, dataset: str) -> StoredImages:
    """The stored dataset, obtained first if it is missing, and which of its images the configuration uses."""
    from jacobian_ensembles.stages.inputs import StoredImages
    from jacobian_ensembles.stages.obtaining import obtain_dataset

    path = obtain_dataset(dataset, cfg.run.results, cfg.data.local_dir, cfg.run.name)
    return StoredImages(path, **cfg.data.model_dump(exclude={"local_dir"}), dataset=short_name(dataset))


def _train(args: argparse.Namespace) -> None:
    cfg = read_config(args.config, args.set, _one_cell(args.dataset, args.ensemble, args.members, args.lambda_jr))
    name = short_name(args.ensemble)
    cfg.in_one_job(name)  # refuses what cannot be trained
    check_output(args.output)
    with _device(cfg, args.threads) as device, tempfile.TemporaryDirectory() as folder:
        from jacobian_ensembles.stages.assemble_ensemble import assemble_ensemble
        from jacobian_ensembles.stages.train_learner import train_learner

        learners = f"{folder}/learners.safetensors"
        train_learner(
            _images(cfg, args.dataset), learners, dataset=short_name(args.dataset), ensemble=args.ensemble,
            lambda_jr=args.lambda_jr, repetition=args.repetition, members=args.members, model=cfg.model.network,
            recipe=cfg.training.recipe(cfg.is_cyclic(name)), goal=cfg.training.goal, seed=cfg.seed, device=device,
        )  # fmt: skip
        assemble_ensemble([learners], args.members, args.output)
    print(f"{args.output}: {args.ensemble}, {args.members} learners, lambda {args.lambda_jr:g}, {args.dataset}")


def _is_stored(model: str) -> bool:
    return ":" not in model


def _load(args: argparse.Namespace, cfg: Config) -> nn.Module:
    from torch import nn

    from jacobian_ensembles.runs.zoo import load_ensemble

    if _is_stored(args.model):
        return load_ensemble(args.model, architecture=cfg.model.architecture, method=args.method)
    make: Any = resolve(args.model, {})
    model = make()
    if not isinstance(model, nn.Module):
        raise ExtensionError(f"{args.model} returned {model!r}, where an nn.Module is needed")
    return model.eval()


def _model(args: argparse.Namespace) -> tuple[str, Cell]:
    """The dataset to use, and the model as a cell."""
    spec: dict[str, Any] = {"dataset": "", "ensemble": "own", "members": 1, "lambda": 0.0}
    if args.model.endswith(".py"):
        raise ConfigError(f"Which model of {args.model}? Name the function that returns it: {args.model}:function.")
    if _is_stored(args.model):
        from jacobian_ensembles.runs.zoo import stored_file

        try:
            args.model = str(stored_file(args.model))
            _, header = read_header(args.model, kind="learners")
        except ArtifactError as error:
            raise ConfigError(str(error)) from error
        spec = {key: header[key] for key in spec}
        if args.dataset and short_name(args.dataset) != spec["dataset"]:
            raise ConfigError(
                f"{args.model} was trained on {spec['dataset']}; --dataset names {args.dataset}. Leave --dataset out, "
                "or name a function that returns the model (path/to/file.py:function), which takes any images."
            )
    else:
        source_file(args.model)
    dataset = args.dataset or str(spec["dataset"])
    if not dataset:
        raise ConfigError(
            "Which images? Name them with --dataset: mnist, fashion_mnist, path/to/folder or file.py:object."
        )
    return dataset, Cell(**{**spec, "dataset": dataset, "repetition": args.repetition})


def _attack(args: argparse.Namespace) -> None:
    dataset, cell = _model(args)
    cfg = read_config(args.config, args.set, _one_cell(dataset))
    attack = cfg.attack.model_copy(update={"seeds": args.seeds})
    check_output(args.output, args.model)
    with _device(cfg, args.threads) as device:
        import torch

        from jacobian_ensembles.evaluation.accuracy import sizes
        from jacobian_ensembles.evaluation.record import evaluate
        from jacobian_ensembles.stages.craft_uaps import craft_uaps
        from jacobian_ensembles.storage.perturbations import load_uaps

        model, images = _load(args, cfg), _images(cfg, dataset)
        craft_uaps(
            model, images, args.output, cell=cell, eps=args.eps, first=0,
            last=attack.perturbations - 1, attack=attack.recipe(), seed=cfg.seed, device=device,
        )  # fmt: skip
        deltas, correct, _ = load_uaps([args.output])
        x, y = images.split("test")
        clean = evaluate(model, x.to(device), y.to(device))
    found = replace(clean, correct=correct, sizes=sizes(torch.from_numpy(deltas), attack.norm).numpy())
    print(f"{args.output}: {len(deltas)} perturbations, eps {args.eps:g}. {found}")


def _evaluate(args: argparse.Namespace) -> None:
    dataset, _ = _model(args)
    cfg = read_config(args.config, args.set, _one_cell(dataset))
    check_output(args.csv, args.model, args.uaps)
    with _device(cfg, args.threads) as device:
        import torch

        from jacobian_ensembles.evaluation.record import evaluate
        from jacobian_ensembles.runs.zoo import is_name, load_perturbation
        from jacobian_ensembles.storage.perturbations import load_uaps

        deltas = None
        if args.uaps is not None:
            named = is_name(args.uaps)
            deltas = (load_perturbation(args.uaps) if named else torch.from_numpy(load_uaps([args.uaps])[0])).to(device)
        model = _load(args, cfg).to(device)
        x, y = _images(cfg, dataset).split("test")
        found = evaluate(model, x.to(device), y.to(device), deltas, cfg.attack.clip, norm=cfg.attack.norm)
    table = found.to_pandas(cfg.metrics.confidence)
    if args.csv:  # first: whoever reads the terminal may have gone
        table.to_csv(args.csv)
    print(table.to_string(float_format="{:.4f}".format))


def _report_model(args: argparse.Namespace) -> None:
    dataset, _ = _model(args)
    cfg = read_config(args.config, args.set, _one_cell(dataset))
    check_output(args.output, args.model)
    with _device(cfg, args.threads) as device:
        from jacobian_ensembles.stages.report_model import report_model

        images = _images(cfg, dataset)
        (x, y), (tested, of) = images.split(cfg.attack.split), images.split("test")
        report_model(
            _load(args, cfg).to(device), x.to(device), y.to(device), args.output,
            test=(tested.to(device), of.to(device)), eps=args.eps, seeds=args.seeds, flags=not args.no_flags,
            clip=cfg.attack.clip, attack=cfg.attack.load(), title=args.title or args.model,
            class_names=images.class_names,
        )  # fmt: skip
    print(args.output)


def _export(args: argparse.Namespace) -> None:
    from jacobian_ensembles.runs.zoo import is_name, load_perturbation
    from jacobian_ensembles.storage.perturbations import load_uaps

    check_output(args.output, args.source)
    if is_name(args.source):
        if args.eps is None and not args.all:
            raise ConfigError("Which perturbation of the shipped model? Give --eps, or --all.")
        deltas = load_perturbation(args.source, args.eps).numpy()
    else:
        deltas, correct, _ = load_uaps([args.source])
        deltas = deltas if args.all else deltas[correct.sum(axis=1).argmin()]
    save_perturbation(deltas, args.output)
    print(args.output)


def _exported(path: str) -> str:
    if not path.lower().endswith(ENDINGS):
        raise argparse.ArgumentTypeError(f"got {path!r}; let it end in one of {', '.join(ENDINGS)}")
    return path


def add_commands(add: AddCommand) -> None:
    """Add these commands to a command line."""
    model = argparse.ArgumentParser(add_help=False)
    model.add_argument("model", help=_MODEL)
    model.add_argument(
        "--dataset",
        help="mnist, fashion_mnist, path/to/folder or path/to/file.py:object; default: what it was trained on",
    )
    model.add_argument("--method", help="path/to/file.py:object, where the ensemble method is your own")
    model.add_argument(
        "--repetition", type=natural, default=0, help="of the training; it seeds the attack (default: 0)"
    )
    train = add("train", _train, "Train one ensemble and store it in one file.", [settings(), compute()])
    train.add_argument(
        "--dataset", required=True, help="mnist, fashion_mnist, path/to/folder or path/to/file.py:object"
    )
    train.add_argument(
        "--ensemble", default="voting", help="bagging, snapshot, voting or file.py:object (default: voting)"
    )
    train.add_argument("--members", type=positive, default=1, metavar="M", help="learners (default: 1)")
    train.add_argument(
        "--lambda", dest="lambda_jr", type=number, default=0.0, metavar="LAMBDA",
        help="strength of Jacobian regularisation, or of another training.objective (default: 0)",
    )  # fmt: skip
    train.add_argument("--repetition", type=natural, default=0, help="another number, other draws (default: 0)")
    train.add_argument("-o", "--output", default="ensemble.safetensors", help="default: ensemble.safetensors")
    attack = add(
        "attack", _attack, "Craft universal perturbations of a model, and test each.", [settings(), compute(), model]
    )
    attack.add_argument("--eps", type=eps, required=True, help="radius in (0, 1], in pixel units")
    attack.add_argument("--seeds", type=positive, default=1, help="perturbations; staged's budget (default: 1)")
    attack.add_argument("-o", "--output", default="uaps.safetensors", help="default: uaps.safetensors")
    evaluate = add(
        "evaluate",
        _evaluate,
        "Test accuracy of a model, clean and under perturbations.",
        [settings(), compute(), model],
    )
    evaluate.add_argument(
        "--uaps", metavar="FILE", help="what attack wrote, or the name of a shipped model: its worst, one per eps"
    )
    evaluate.add_argument("--csv", metavar="FILE", help="write the table there, too")
    page = add(
        "report-model", _report_model, "Attack a model at several eps; write what was found as one HTML page.",
        [settings(), compute(), model],
    )  # fmt: skip
    page.add_argument("--eps", type=eps, nargs="+", default=[0.05, 0.1, 0.15, 0.2], help="default: 0.05 0.1 0.15 0.2")
    page.add_argument("--seeds", type=positive, default=5, help="perturbations per eps, the worst counts (default: 5)")
    page.add_argument("--no-flags", action="store_true", help="without the further attacks that may raise flags")
    page.add_argument("--title", help="what the page calls the model")
    page.add_argument("-o", "--output", default="model.html", help="default: model.html")
    export = add("export", _export, "Write a perturbation as a picture, or as an array for other programs.", [])
    export.add_argument("source", help="what attack wrote: its most harmful; or the name of a shipped model")
    export.add_argument("--eps", type=eps, help="of a shipped model's perturbation")
    export.add_argument("--all", action="store_true", help="all perturbations, in one array")
    export.add_argument(
        "-o", "--output", type=_exported, required=True, metavar="FILE",
        help="ends in .png (no change is grey), .npy or .npz (float32)",
    )  # fmt: skip
