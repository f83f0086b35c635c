"""The commands that read existing results: reports, comparisons, joined runs, what a file is."""

from __future__ import annotations

import argparse
from pathlib import Path

from jacobian_ensembles.config.reading import read_config
from jacobian_ensembles.config.schema import ConfigError
from jacobian_ensembles.runs.devices import visible_gpus
from jacobian_ensembles.runs.provenance import about
from jacobian_ensembles.storage.files import read_header, try_output


def check_output(path: str | Path | None, *inputs: str | None) -> None:
    """Refuse an output that could not be written, before anything is fetched, trained or attacked."""
    if path is None:
        return
    if any(given is not None and Path(given).resolve() == Path(path).resolve() for given in inputs):
        raise ConfigError(f"{path}: it is read and would be overwritten. Give another file to write.")
    try:
        try_output(path)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written ({error.strerror or error}). Give another file.") from error


def report_runs(args: argparse.Namespace) -> None:
    """Write the page of a finished run."""
    from jacobian_ensembles.stages.write_report import write_report

    path = args.output or Path(args.folder) / "report.html"
    if Path(args.folder).is_dir():
        check_output(path)
    write_report(args.folder, path)
    print(path)


def compare_runs(args: argparse.Namespace) -> None:
    """Compare runs side by side."""
    cfg = read_config(args.config, args.set)
    page = Path(args.output) / "comparison.html"
    check_output(page)
    from jacobian_ensembles.stages.compare_runs import compare_runs as compare

    compare(args.runs, args.output, cfg.metrics.clean_weight, cfg.metrics.confidence, args.transfer)
    print(page)


def join_runs(args: argparse.Namespace) -> None:
    """Join shipped runs."""
    from jacobian_ensembles.runs.join import join_runs as join

    join(args.parts, args.output)
    print(args.output)


def describe_files(args: argparse.Namespace) -> None:
    """Print versions and devices, and what each file is."""
    facts = {**about(), "GPUs": ", ".join(visible_gpus()) or "none"}
    for path in args.files:
        kind, spec = read_header(path)
        facts[path] = f"{kind} {spec}"
    width = max(map(len, facts))
    for name, value in facts.items():
        print(f"{name:<{width}}  {'-' if value is None else value}")
