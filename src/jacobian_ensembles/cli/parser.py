"""The grammar of the command line."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from jacobian_ensembles.cli.models import add_commands as add_models
from jacobian_ensembles.cli.runs import add_commands as add_runs
from jacobian_ensembles.cli.shipped import add_commands as add_shipped

_DESCRIPTION = """\
Train, attack and evaluate single models outside the workflow, with the same code and the same configuration.

  jacobian-ensembles train --dataset mnist --ensemble voting --members 3 --lambda 0.1 -o model.safetensors
  jacobian-ensembles attack model.safetensors --eps 0.15 --seeds 5 -o uaps.safetensors
  jacobian-ensembles evaluate model.safetensors --uaps uaps.safetensors
  jacobian-ensembles export uaps.safetensors -o worst.png
  jacobian-ensembles report results/quick -o report.html
  jacobian-ensembles join results/reference/part1 results/reference/part2 -o results/reference/whole
  jacobian-ensembles compare results/reference/grid results/mine -o comparison
  jacobian-ensembles archive results/reference/whole -o whole.zip
  jacobian-ensembles info model.safetensors
"""
_EPILOG = """\
Settings come from --config files, later ones over earlier ones (config.yaml of this folder where none is named and it
exists; --config none does without it), then from --set. Exit codes: 0 done; 1 the work failed, and the last line says
why; 2 the command or the configuration cannot be used, and nothing was started; 130 stopped by Ctrl-C.
"""


def parser() -> argparse.ArgumentParser:
    """The command line's grammar; each command's function is its default ``function``."""
    wide: Any = argparse.RawDescriptionHelpFormatter
    top = argparse.ArgumentParser("jacobian-ensembles", description=_DESCRIPTION, epilog=_EPILOG, formatter_class=wide)
    commands = top.add_subparsers(dest="command", required=True, metavar="command")

    def add(
        name: str, function: Callable[[argparse.Namespace], None], text: str, parents: list[argparse.ArgumentParser]
    ) -> argparse.ArgumentParser:
        command = commands.add_parser(
            name, help=text, description=text, epilog=_EPILOG, parents=parents, formatter_class=wide
        )
        command.set_defaults(function=function)
        return command

    for add_family in (add_models, add_runs, add_shipped):
        add_family(add)
    return top
