"""The commands that describe, check and pack shipped runs."""

from __future__ import annotations

import argparse
from pathlib import Path

from jacobian_ensembles.cli.options import AddCommand
from jacobian_ensembles.config.schema import ConfigError
from jacobian_ensembles.runs.provenance import source_tree


def _crate(args: argparse.Namespace) -> None:
    from jacobian_ensembles.runs.ship import seal

    for run in args.runs:
        seal(Path(run))
        print(f"{run}: described, and its checksums listed")


def _convert(args: argparse.Namespace) -> None:
    from jacobian_ensembles.runs.convert import convert_run

    for run in args.runs:
        convert_run(run)
        print(f"{run}: in today's form")


def _check(args: argparse.Namespace) -> None:
    from jacobian_ensembles.runs.archive import check_archive

    for path in args.paths:
        print(f"{path}: {check_archive(path)} files, all as described")


def _explain(args: argparse.Namespace) -> None:
    from jacobian_ensembles.runs.explain import chosen, explain
    from jacobian_ensembles.runs.run import Run
    from jacobian_ensembles.runs.zoo import reference_folder

    run = Run.open(args.run if Path(args.run).is_dir() else reference_folder() / args.run)
    try:
        cells = chosen(run, args.words)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    print("\n".join(line for cell in cells for line in explain(run, cell)))


def _archive(args: argparse.Namespace) -> None:
    from jacobian_ensembles.runs.archive import archive_run

    output = args.output or f"{Path(args.run).resolve().name}.zip"
    commit = archive_run(args.run, output, args.repository, args.commit)
    print(f"{output}: {args.run} with the code of {commit}")


def add_commands(add: AddCommand) -> None:
    """Add these commands to a command line."""
    archive = add("archive", _archive, "Pack a shipped run, its research object and the code at its commit.", [])
    archive.add_argument("run", help="results/reference/<run>")
    archive.add_argument("-o", "--output", help="ZIP file to write (default: <run>.zip)")
    archive.add_argument("--commit", help="whose code to pack (default: the one commit that made the run)")
    archive.add_argument(
        "--repository", default=source_tree(), metavar="FOLDER", help="a clone of this project (default: this one's)"
    )
    check = add("check", _check, "Compare every file of runs or archives with its checksum.", [])
    check.add_argument("paths", nargs="+", help="a run, live or shipped, or what archive wrote, packed or not")
    explaining = add(
        "explain", _explain, "How a model's numbers were made: seeds, files, commit, and the command for it.", []
    )
    explaining.add_argument("run", help="a shipped run, such as table1, or the folder of any run")
    explaining.add_argument("words", nargs="+", metavar="word", help="mnist snapshot M3 lambda0.50, or some of these")
    convert = add("convert", _convert, "Bring runs that version 0.2 shipped into today's form, in their place.", [])
    convert.add_argument("runs", nargs="+", help="results/reference/<run>")
    crate = add("crate", _crate, "Describe shipped runs anew, after an edit of their files.", [])
    crate.add_argument("runs", nargs="+", help="results/reference/<run>")
