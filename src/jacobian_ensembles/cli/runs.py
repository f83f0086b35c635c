"""The commands that read existing results: reports, comparisons, joined runs, what a file is."""

from __future__ import annotations

import argparse
from pathlib import Path

from jacobian_ensembles.cli.options import AddCommand, check_output, settings
from jacobian_ensembles.config.reading import read_config
from jacobian_ensembles.runs.devices import visible_gpus
from jacobian_ensembles.runs.provenance import about
from jacobian_ensembles.storage.files import read_header


def _report(args: argparse.Namespace) -> None:
    from jacobian_ensembles.runs.run import Run
    from jacobian_ensembles.stages.write_report import write_report

    run = Run.open(args.folder)
    # nothing is added to a shipped run, whose files have a list
    folder = Path("results/rebuilt") / run.name if run.shipped else Path(args.folder)
    path = args.output or folder / "report.html"
    check_output(path)
    write_report(args.folder, path)
    print(path)


def _compare(args: argparse.Namespace) -> None:
    cfg = read_config(args.config, args.set)
    page = Path(args.output) / "comparison.html"
    check_output(page)
    from jacobian_ensembles.stages.compare_runs import compare_runs

    compare_runs(args.runs, args.output, cfg.metrics.clean_weight, cfg.metrics.confidence, args.transfer)
    print(page)


def _join(args: argparse.Namespace) -> None:
    from jacobian_ensembles.runs.join import join_runs

    join_runs(args.parts, args.output)
    print(args.output)


def _info(args: argparse.Namespace) -> None:
    if any(Path(path).is_dir() for path in args.files):
        for path in args.files:
            _say_what_was_found(path)
        return
    facts = {**about(), "GPUs": ", ".join(visible_gpus()) or "none"}
    for path in args.files:
        kind, spec = read_header(path)
        facts[path] = f"{kind} {spec}"
    width = max(map(len, facts))
    for name, value in facts.items():
        print(f"{name:<{width}}  {'-' if value is None else value}")


def _say_what_was_found(folder: str) -> None:
    from jacobian_ensembles.report.headline import headline
    from jacobian_ensembles.runs.run import Run

    run = Run.open(folder)
    print(*headline(run.table("summary"), run.config, run.classes), sep="\n")
    if (page := Path(folder) / "report.html").is_file():
        print(f"Page: {page}")


def add_commands(add: AddCommand) -> None:
    """Add these commands to a command line."""
    report = add("report", _report, "Write the page of a finished or shipped run.", [])
    report.add_argument("folder", help="results/<run> or results/reference/<run>")
    report.add_argument(
        "-o", "--output", help="default: <folder>/report.html; of a shipped run results/rebuilt/<run>/report.html"
    )
    compare = add("compare", _compare, "Set finished or shipped runs beside one another.", [settings()])
    compare.add_argument(
        "runs", nargs="+", help="results/<run> or results/reference/<run>; differences are from the first"
    )
    compare.add_argument("-o", "--output", default="comparison", help="folder to write (default: comparison)")
    compare.add_argument(
        "--transfer",
        action="store_true",
        help="also try the perturbations crafted for each run's best models on the others' (finished runs only)",
    )
    join = add("join", _join, "Put shipped runs together that computed different models of one grid.", [])
    join.add_argument(
        "parts", nargs="+", help="results/reference/<run>, with the same settings; a single one is drawn anew"
    )
    join.add_argument("-o", "--output", required=True, help="folder to write; its name becomes the run's")
    info = add("info", _info, "Versions and devices, what a stored file is, or what a run found.", [])
    info.add_argument("files", nargs="*", help="files of the workflow or of these commands, or folders of runs")
