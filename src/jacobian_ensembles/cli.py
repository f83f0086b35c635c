"""The command line: single models trained, attacked and evaluated outside the workflow, by its code and settings."""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from tqdm import tqdm

from jacobian_ensembles.experiment.config import Config, ConfigError, load_config
from jacobian_ensembles.experiment.devices import NoFreeSlotError, claim_gpu, visible_gpus, wants_gpu
from jacobian_ensembles.experiment.extensions import ExtensionError, resolve, short_name, source_file
from jacobian_ensembles.experiment.layout import Layout
from jacobian_ensembles.experiment.provenance import provenance
from jacobian_ensembles.storage.files import ArtifactError, load_tensors

if TYPE_CHECKING:
    from torch import nn

log = logging.getLogger("jacobian_ensembles")
_DESCRIPTION = """\
Train, attack and evaluate single models outside the workflow, with the same code and the same configuration.

  jacobian-ensembles train --dataset mnist --ensemble voting --members 3 --lambda 0.1 -o model.safetensors
  jacobian-ensembles attack model.safetensors --eps 0.15 --seeds 5 -o uaps.safetensors
  jacobian-ensembles evaluate model.safetensors --uaps uaps.safetensors
  jacobian-ensembles report results/quick -o report.html
  jacobian-ensembles join results/reference/part1 results/reference/part2 -o results/reference/whole
  jacobian-ensembles info model.safetensors
"""
_EPILOG = """\
Settings come from --config files, later ones over earlier ones (config.yaml of this folder where none is named and it
exists), then from --set. Exit codes: 0 done; 1 the work failed, and the last line says why; 2 the command or the
configuration cannot be used, and nothing was started.
"""
_MODEL = (
    "a file that train or the workflow wrote, or path/to/file.py:function, a function without arguments that returns "
)
_MODEL += "your own nn.Module from images in [0, 1] to logits"


class _Bars(logging.Handler):
    """On a terminal: records that carry progress move a bar, all others are printed above it."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.bar: tqdm[Any] | None = None

    def emit(self, record: logging.LogRecord) -> None:
        progress = getattr(record, "progress", None)
        if progress is None:
            if record.levelno >= logging.INFO:
                tqdm.write(self.format(record), file=sys.stderr)
            return
        done, total = progress
        if self.bar is None:
            self.bar = tqdm(total=total, leave=False, unit="step", file=sys.stderr)
        self.bar.set_description(record.getMessage())
        self.bar.total = total
        self.bar.n = done
        self.bar.refresh() if done == total else self.bar.update(0)
        if done == total:
            self.bar.close()
            self.bar = None


def _start_logging() -> None:
    terminal = sys.stderr.isatty()
    handler: logging.Handler = _Bars() if terminal else logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s" if terminal else "%(asctime)s %(message)s", "%H:%M:%S"))
    log.handlers = [handler]
    log.setLevel(logging.DEBUG if terminal else logging.INFO)
    log.propagate = False


def merge(base: Mapping[str, Any], overlay: Mapping[str, Any]) -> dict[str, Any]:
    """One configuration over another, section by section, as Snakemake's ``--configfile`` does it."""
    out = dict(base)
    for key, value in overlay.items():
        both = isinstance(value, Mapping) and isinstance(out.get(key), Mapping)
        out[key] = merge(out[key], value) if both else value
    return out


def read_config(paths: Sequence[str], settings: Sequence[str], grid: Mapping[str, Any] | None = None) -> Config:
    """The configuration of a command.

    Args:
        paths: YAML files, later ones over earlier ones; ``config.yaml`` of this folder where none is named.
        settings: ``section.key=value`` each, over the files.
        grid: A single cell's dataset, ensemble, members and lambda, over the grid of the files.

    Returns:
        The validated configuration.

    Raises:
        ConfigError: If a file cannot be read, or the configuration not be used.
    """
    raw: dict[str, Any] = {"run": {"name": "single"}, "grid": {"eps": [0.15]}, "figures": {"eps": 0.15}}
    for path in paths or [p for p in ("config.yaml",) if Path(p).is_file()]:
        try:
            content = yaml.safe_load(Path(path).read_text())
        except (OSError, yaml.YAMLError) as error:
            raise ConfigError(f"{path}: cannot be read as YAML ({error}).") from error
        raw = merge(raw, content or {})
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise ConfigError(f"--set {setting}: give section.key=value, such as training.epochs=2.")
        nested: Any = yaml.safe_load(value)
        for part in reversed(key.split(".")):
            nested = {part: nested}
        raw = merge(raw, nested)
    if grid is not None:
        raw = merge(raw, {"grid": {**grid, "cells": None}, "trials": {}, "ablation": {}})
    return load_config(raw)


def _one_cell(dataset: str, ensemble: str = "voting", members: int = 1, lambda_jr: float = 0.0) -> dict[str, Any]:
    return {"datasets": [dataset], "ensembles": [ensemble], "members": [members], "lambdas": [lambda_jr]}


@contextmanager
def _device(cfg: Config, threads: int) -> Iterator[str]:
    """The device to compute on, claimed as a job of the workflow claims it, with so many CPU threads."""
    with ExitStack() as stack:
        gpu = wants_gpu(cfg.compute.device)
        if gpu:
            stack.enter_context(claim_gpu(cfg.compute.gpu_slots))
        import torch  # after the GPU is chosen

        torch.set_num_threads(threads)
        yield "cuda" if gpu else "cpu"


def _data(cfg: Config, dataset: str) -> Path:
    """The stored dataset, obtained first where it is not there."""
    from jacobian_ensembles.stages.download_dataset import download_dataset

    path = Path(Layout(cfg.run.results, cfg.run.name).dataset.format(dataset=short_name(dataset)))
    if not path.is_file():
        download_dataset(dataset, path, cfg.data.local_dir)
    return path


def _train(args: argparse.Namespace) -> None:
    cfg = read_config(args.config, args.set, _one_cell(args.dataset, args.ensemble, args.members, args.lambda_jr))
    with _device(cfg, args.threads) as device, tempfile.TemporaryDirectory() as folder:
        from jacobian_ensembles.stages.assemble_ensemble import assemble_ensemble
        from jacobian_ensembles.stages.train_learner import train_to_file

        data = _data(cfg, args.dataset)
        snapshots = args.members if args.ensemble == "snapshot" else None
        learners = []
        for i in range(1 if snapshots else args.members):
            log.info("learner %d of %d", i + 1, args.members) if not snapshots else log.info("%d snapshots", snapshots)
            learners.append(f"{folder}/{i}.safetensors")
            train_to_file(
                data, learners[-1], dataset=short_name(args.dataset), ensemble=args.ensemble, lambda_jr=args.lambda_jr,
                repetition=args.repetition, member=None if snapshots else i, snapshots=snapshots, model=cfg.model,
                settings=cfg.training, seed=cfg.seed, validation_images=cfg.data.validation_images,
                train_images=cfg.data.train_images, device=device,
            )  # fmt: skip
        assemble_ensemble(learners, args.members, args.output)
    print(f"{args.output}: {args.ensemble}, {args.members} learners, lambda {args.lambda_jr:g}, {args.dataset}")


def _is_stored(model: str) -> bool:
    return ":" not in model


def _load(args: argparse.Namespace, cfg: Config) -> nn.Module:
    from torch import nn

    from jacobian_ensembles.stages.inputs import load_ensemble

    if _is_stored(args.model):
        return load_ensemble(args.model, architecture=cfg.model.architecture, method=args.method)
    make: Any = resolve(args.model, {})
    model = make()
    if not isinstance(model, nn.Module):
        raise ExtensionError(f"{args.model} returned {model!r}, where an nn.Module is needed")
    return model.eval()


def _spec(args: argparse.Namespace) -> tuple[str, dict[str, str | int | float]]:
    """The dataset to use, and the cell of the model."""
    cell: dict[str, str | int | float] = {
        "dataset": "",
        "ensemble": "own",
        "members": 1,
        "lambda": 0.0,
        "repetition": 0,
    }
    if _is_stored(args.model):
        _, spec = load_tensors(args.model, kind="learners", only=())
        cell |= {key: spec[key] for key in ("dataset", "ensemble", "members", "lambda")}
    else:
        source_file(args.model)
    dataset = args.dataset or str(cell["dataset"])
    if not dataset:
        raise ConfigError("Which images? Name them with --dataset: mnist, fashion_mnist, or path/to/file.py:object.")
    return dataset, {**cell, "dataset": short_name(dataset), "repetition": args.repetition}


def _attack(args: argparse.Namespace) -> None:
    dataset, cell = _spec(args)
    cfg = read_config(args.config, args.set, _one_cell(dataset))
    with _device(cfg, args.threads) as device:
        from jacobian_ensembles.stages.craft_uaps import craft_to_file

        craft_to_file(
            _load(args, cfg), _data(cfg, dataset), args.output, cell=cell, eps=args.eps, first=0, last=args.seeds - 1,
            settings=cfg.attack, seed=cfg.seed, validation_images=cfg.data.validation_images,
            train_images=cfg.data.train_images, test_images=cfg.data.test_images, device=device,
        )  # fmt: skip
    from jacobian_ensembles.storage.predictions import load_uaps

    accuracies = load_uaps([args.output])[1].mean(axis=1)
    print(f"{args.output}: {args.seeds} perturbations, eps {args.eps:g}, worst accuracy {accuracies.min():.2%}")


def _evaluate(args: argparse.Namespace) -> None:
    dataset, _ = _spec(args)
    cfg = read_config(args.config, args.set, _one_cell(dataset))
    with _device(cfg, args.threads) as device:
        import torch

        from jacobian_ensembles.evaluation.record import evaluate
        from jacobian_ensembles.stages.inputs import load_split
        from jacobian_ensembles.storage.predictions import load_uaps

        deltas = None if args.uaps is None else torch.from_numpy(load_uaps([args.uaps])[0]).to(device)
        x, y = load_split(_data(cfg, dataset), "test", cfg.data.validation_images, cfg.data.test_images)
        found = evaluate(_load(args, cfg).to(device), x.to(device), y.to(device), deltas, cfg.attack.clip)
    table = found.to_pandas(cfg.metrics.confidence)
    print(table.to_string(float_format="{:.4f}".format))
    if args.csv:
        table.to_csv(args.csv)


def _report(args: argparse.Namespace) -> None:
    cfg = read_config(args.config, args.set)
    from jacobian_ensembles.stages.write_report import report_of_folder

    path = args.output or Path(args.folder) / "report.html"
    report_of_folder(args.folder, path, cfg)
    print(path)


def _join(args: argparse.Namespace) -> None:
    from jacobian_ensembles.shipping import join_runs

    join_runs(args.parts, args.output)
    print(args.output)


def _info(args: argparse.Namespace) -> None:
    record = provenance({}, ", ".join(visible_gpus()) or "none", 1, 0)
    facts = {"jacobian-ensembles": record["package"], "commit": record["commit"], "python": record["python"]}
    facts |= {**record["versions"], "platform": record["platform"], "GPUs": record["device"]}
    for path in args.files:
        kinds = ("learners", "uaps", "worst_uap", "clean", "dataset", "jacobian")
        for kind in kinds:
            try:
                _, spec = load_tensors(path, kind=kind, only=())
            except ArtifactError as error:
                if "expected a file of kind" in str(error):
                    continue
                raise
            facts[path] = f"{kind} {spec}"
            break
    width = max(map(len, facts))
    for name, value in facts.items():
        print(f"{name:<{width}}  {'-' if value is None else value}")


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"got {text!r}; give a whole number from 1 on")
    return int(text)


def parser() -> argparse.ArgumentParser:
    """The command line's grammar."""
    wide: Any = argparse.RawDescriptionHelpFormatter
    top = argparse.ArgumentParser("jacobian-ensembles", description=_DESCRIPTION, epilog=_EPILOG, formatter_class=wide)
    commands = top.add_subparsers(dest="command", required=True, metavar="command")
    settings = argparse.ArgumentParser(add_help=False)
    settings.add_argument(
        "--config", action="append", default=[], metavar="FILE", help="YAML; may be given several times"
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
        "--lambda",
        dest="lambda_jr",
        type=float,
        default=0.0,
        metavar="LAMBDA",
        help="Jacobian regularisation (default: 0)",
    )
    train.add_argument("--repetition", type=int, default=0, help="another number, other draws (default: 0)")
    train.add_argument("-o", "--output", default="ensemble.safetensors", help="default: ensemble.safetensors")
    attack = add(
        "attack", _attack, "Craft universal perturbations of a model, and test each.", [settings, compute, model]
    )
    attack.add_argument("--eps", type=float, required=True, help="L-infinity radius in (0, 1], in pixel units")
    attack.add_argument("--seeds", type=_positive, default=1, help="how many perturbations (default: 1)")
    attack.add_argument("-o", "--output", default="uaps.safetensors", help="default: uaps.safetensors")
    evaluate = add(
        "evaluate", _evaluate, "Test accuracy of a model, clean and under perturbations.", [settings, compute, model]
    )
    evaluate.add_argument("--uaps", metavar="FILE", help="what attack wrote")
    evaluate.add_argument("--csv", metavar="FILE", help="write the table there, too")
    report = add("report", _report, "Write the page of a finished run.", [settings])
    report.add_argument("folder", help="results/<run>")
    report.add_argument("-o", "--output", help="default: <folder>/report.html")
    join = add("join", _join, "Put shipped runs together that computed different models of one grid.", [])
    join.add_argument(
        "parts", nargs="+", help="results/reference/<run>, with the same settings; a single one is drawn anew"
    )
    join.add_argument("-o", "--output", required=True, help="folder to write; its name becomes the run's")
    info = add("info", _info, "Versions and devices, and what a stored file is.", [])
    info.add_argument("files", nargs="*", help="files of the workflow or of these commands")
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: The command line without the program's name; None for the process's own.

    Returns:
        The exit code: 0, or 1 where the work failed, or 2 where the configuration cannot be used.
    """
    args = parser().parse_args(arguments)
    _start_logging()
    try:
        args.function(args)
    except (ConfigError, ExtensionError) as error:
        print(error, file=sys.stderr)
        return 2
    except (ArtifactError, NoFreeSlotError, OSError, RuntimeError, ValueError) as error:
        log.debug("", exc_info=True)
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0
