"""What the commands share: options, the kinds of values they take, and the check of what they write."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from jacobian_ensembles.config.schema import ConfigError
from jacobian_ensembles.config.values import tidy
from jacobian_ensembles.data.scalars import check_eps
from jacobian_ensembles.storage.files import try_output

#: Adds a command, given its name, its function, what it does and the options it shares, and returns its parser.
AddCommand = Callable[
    [str, Callable[[argparse.Namespace], None], str, list[argparse.ArgumentParser]], argparse.ArgumentParser
]


def settings() -> argparse.ArgumentParser:
    """The options from which the configuration is read."""
    options = argparse.ArgumentParser(add_help=False)
    options.add_argument(
        "--config",
        action="append",
        default=[],
        metavar="FILE",
        help="YAML or JSON, or none; may be given several times",
    )
    options.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="such as training.epochs=2")
    return options


def compute() -> argparse.ArgumentParser:
    """The options of commands that compute."""
    options = argparse.ArgumentParser(add_help=False)
    options.add_argument(
        "--threads", type=positive, default=1, help="CPU threads; 1, the default, gives the workflow's own bits"
    )
    return options


def natural(text: str) -> int:
    """A whole number from 0 on."""
    return _whole(text, 0)


def positive(text: str) -> int:
    """A whole number from 1 on."""
    return _whole(text, 1)


def _whole(text: str, least: int) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) < least:
        raise argparse.ArgumentTypeError(f"got {text!r}; give a whole number from {least} on")
    return int(text)


def number(text: str) -> float:
    """Any number."""
    try:
        return tidy(float(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"got {text!r}; give a number") from None


def eps(text: str) -> float:
    """A radius: see :func:`~jacobian_ensembles.data.scalars.check_eps`."""
    try:
        return check_eps(number(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


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
