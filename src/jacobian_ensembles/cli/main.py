"""The command line: single models trained, attacked and evaluated outside the workflow, with its code and settings."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jacobian_ensembles.cli.progress import start_logging
from jacobian_ensembles.cli.runs import check_output, compare_runs, describe_files, join_runs, report_runs
from jacobian_ensembles.cli.shipped import add_commands
from jacobian_ensembles.config.cells import Cell
from jacobian_ensembles.config.reading import read_config
from jacobian_ensembles.config.schema import Config, ConfigError
from jacobian_ensembles.config.values import tidy
from jacobian_ensembles.extensions.failures import one_line, where_it_broke
from jacobian_ensembles.extensions.origin import dataset_origin, place_token
from jacobian_ensembles.extensions.references import ExtensionError, resolve, short_name, source_file
from jacobian_ensembles.runs.devices import NoFreeSlotError, claim_gpu, prepare_device, wants_gpu
from jacobian_ensembles.runs.layout import Layout
from jacobian_ensembles.storage.files import ArtifactError, read_header

if TYPE_CHECKING:
    from torch import nn

    from jacobian_ensembles.stages.inputs import StoredImages

log = logging.getLogger("jacobian_ensembles")
_DESCRIPTION = """\
Train, attack and evaluate single models outside the workflow, with the same code and the same configuration.

  jacobian-ensembles train --dataset mnist --ensemble voting --members 3 --lambda 0.1 -o model.safetensors
  jacobian-ensembles attack model.safetensors --eps 0.15 --seeds 5 -o uaps.safetensors
  jacobian-ensembles evaluate model.safetensors --uaps uaps.safetensors
  jacobian-ensembles report results/quick -o report.html
  jacobian-ensembles join results/reference/part1 results/reference/part2 -o results/reference/whole
  jacobian-ensembles compare results/reference/grid results/mine -o comparison
  jacobian-ensembles archive results/reference/whole -o whole.zip
  jacobian-ensembles info model.safetensors
"""
_EPILOG = """\
Settings come from --config files, later ones over earlier ones (config.yaml of this folder where none is named and it
exists; --config none does without it), then from --set. Exit codes: 0 done; 1 the work failed, and the last line says
why; 2 the command or the configuration cannot be used, and nothing was started.
"""
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


def _data(cfg: Config, dataset: str) -> Path:
    """The stored dataset, obtained first if it is missing."""
    from jacobian_ensembles.stages.download_dataset import download_dataset

    name, layout = short_name(dataset), Layout(cfg.run.results, cfg.run.name)
    path = Path(layout.dataset.format(dataset=name))
    current = path.is_file()
    if name != dataset:
        origin = dataset_origin(dataset, cfg.data.local_dir)
        path = Path(layout.own_dataset.format(dataset=f"{name}-{place_token(origin)}"))
        current = path.is_file() and read_header(path, kind="dataset")[1].get("origin") == origin
    if not current:
        download_dataset(dataset, path, cfg.data.local_dir)
    return path


def _images(cfg: Config, dataset: str) -> StoredImages:
    """The stored dataset, obtained first if it is missing, and which of its images the configuration uses."""
    from jacobian_ensembles.stages.inputs import StoredImages

    return StoredImages(_data(cfg, dataset), **cfg.data.model_dump(exclude={"local_dir"}), dataset=short_name(dataset))


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

        args.model = str(stored_file(args.model))
        _, header = read_header(args.model, kind="learners")
        spec = {key: header[key] for key in spec}
    else:
        source_file(args.model)
    dataset = args.dataset or str(spec["dataset"])
    if not dataset:
        raise ConfigError("Which images? Name them with --dataset: mnist, fashion_mnist, or path/to/file.py:object.")
    return dataset, Cell(**{**spec, "dataset": dataset, "repetition": args.repetition})


def _attack(args: argparse.Namespace) -> None:
    dataset, cell = _model(args)
    cfg = read_config(args.config, args.set, _one_cell(dataset))
    attack = cfg.attack.model_copy(update={"seeds": args.seeds})
    check_output(args.output, args.model)
    with _device(cfg, args.threads) as device:
        from jacobian_ensembles.stages.craft_uaps import craft_uaps

        craft_uaps(
            _load(args, cfg), _images(cfg, dataset), args.output, cell=cell, eps=args.eps, first=0,
            last=attack.perturbations - 1, attack=attack.recipe(), seed=cfg.seed, device=device,
        )  # fmt: skip
    from jacobian_ensembles.storage.perturbations import load_uaps

    accuracies = load_uaps([args.output])[1].mean(axis=1)
    print(f"{args.output}: {len(accuracies)} perturbations, eps {args.eps:g}, worst accuracy {accuracies.min():.2%}")


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
        x, y = _images(cfg, dataset).split("test")
        found = evaluate(
            _load(args, cfg).to(device), x.to(device), y.to(device), deltas, cfg.attack.clip, norm=cfg.attack.norm
        )
    table = found.to_pandas(cfg.metrics.confidence)
    if args.csv:  # first: whoever reads the terminal may have gone
        table.to_csv(args.csv)
    print(table.to_string(float_format="{:.4f}".format))


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"got {text!r}; give a whole number from 1 on")
    return int(text)


def _number(text: str) -> float:
    try:
        return tidy(float(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"got {text!r}; give a number") from None


def parser() -> argparse.ArgumentParser:
    """The command line's grammar."""
    wide: Any = argparse.RawDescriptionHelpFormatter
    top = argparse.ArgumentParser("jacobian-ensembles", description=_DESCRIPTION, epilog=_EPILOG, formatter_class=wide)
    commands = top.add_subparsers(dest="command", required=True, metavar="command")
    settings = argparse.ArgumentParser(add_help=False)
    settings.add_argument(
        "--config",
        action="append",
        default=[],
        metavar="FILE",
        help="YAML or JSON, or none; may be given several times",
    )
    settings.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="such as training.epochs=2")
    compute = argparse.ArgumentParser(add_help=False)
    compute.add_argument(
        "--threads", type=_positive, default=1, help="CPU threads; 1, the default, gives the workflow's own bits"
    )
    model = argparse.ArgumentParser(add_help=False)
    model.add_argument("model", help=_MODEL)
    model.add_argument(
        "--dataset", help="mnist, fashion_mnist or path/to/file.py:object; default: what it was trained on"
    )
    model.add_argument("--method", help="path/to/file.py:object, where the ensemble method is your own")
    model.add_argument("--repetition", type=int, default=0, help="of the training; it seeds the attack (default: 0)")

    def add(name: str, function: Any, text: str, parents: list[argparse.ArgumentParser]) -> argparse.ArgumentParser:
        command = commands.add_parser(
            name, help=text, description=text, epilog=_EPILOG, parents=parents, formatter_class=wide
        )
        command.set_defaults(function=function)
        return command

    train = add("train", _train, "Train one ensemble and store it in one file.", [settings, compute])
    train.add_argument("--dataset", required=True, help="mnist, fashion_mnist, or path/to/file.py:object")
    train.add_argument(
        "--ensemble", default="voting", help="bagging, snapshot, voting or file.py:object (default: voting)"
    )
    train.add_argument("--members", type=_positive, default=1, metavar="M", help="learners (default: 1)")
    train.add_argument(
        "--lambda", dest="lambda_jr", type=_number, default=0.0, metavar="LAMBDA",
        help="strength of Jacobian regularisation, or of another training.objective (default: 0)",
    )  # fmt: skip
    train.add_argument("--repetition", type=int, default=0, help="another number, other draws (default: 0)")
    train.add_argument("-o", "--output", default="ensemble.safetensors", help="default: ensemble.safetensors")
    attack = add(
        "attack", _attack, "Craft universal perturbations of a model, and test each.", [settings, compute, model]
    )
    attack.add_argument("--eps", type=_number, required=True, help="radius in (0, 1], in pixel units")
    attack.add_argument("--seeds", type=_positive, default=1, help="perturbations; staged's budget (default: 1)")
    attack.add_argument("-o", "--output", default="uaps.safetensors", help="default: uaps.safetensors")
    evaluate = add(
        "evaluate", _evaluate, "Test accuracy of a model, clean and under perturbations.", [settings, compute, model]
    )
    evaluate.add_argument(
        "--uaps", metavar="FILE", help="what attack wrote, or the name of a shipped model: its worst, one per eps"
    )
    evaluate.add_argument("--csv", metavar="FILE", help="write the table there, too")
    report = add("report", report_runs, "Write the page of a finished run.", [settings])
    report.add_argument("folder", help="results/<run>")
    report.add_argument("-o", "--output", help="default: <folder>/report.html")
    compare = add("compare", compare_runs, "Set finished or shipped runs beside one another.", [settings])
    compare.add_argument(
        "runs", nargs="+", help="results/<run> or results/reference/<run>; differences are from the first"
    )
    compare.add_argument("-o", "--output", default="comparison", help="folder to write (default: comparison)")
    compare.add_argument(
        "--transfer",
        action="store_true",
        help="also try the perturbations crafted for each run's best models on the others' (finished runs only)",
    )
    join = add("join", join_runs, "Put shipped runs together that computed different models of one grid.", [])
    join.add_argument(
        "parts", nargs="+", help="results/reference/<run>, with the same settings; a single one is drawn anew"
    )
    join.add_argument("-o", "--output", required=True, help="folder to write; its name becomes the run's")
    add_commands(add)
    info = add("info", describe_files, "Versions and devices, and what a stored file is.", [])
    info.add_argument("files", nargs="*", help="files of the workflow or of these commands")
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: The command line without the program's name; None for the process's own.

    Returns:
        The exit code: 0, or 1 if the work failed, or 2 if the configuration cannot be used.
    """
    args = parser().parse_args(arguments)
    start_logging()
    try:
        args.function(args)
        sys.stdout.flush()
    except BrokenPipeError:  # nobody reads on; all files are written by now
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (ConfigError, ExtensionError) as error:
        print(error, file=sys.stderr)
        return 2
    except (ArtifactError, NoFreeSlotError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    except (Exception, SystemExit) as error:  # whatever a user's code throws
        log.debug("", exc_info=True)
        ours = isinstance(error, RuntimeError | ValueError) and where_it_broke(error) is None
        print(f"{type(error).__name__}: {error}" if ours else one_line(error), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0
