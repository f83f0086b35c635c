"""Progress of a command on a terminal: a bar for work that reports how far it is, lines for the rest."""

from __future__ import annotations

import logging
import sys
from typing import Any

from tqdm import tqdm

log = logging.getLogger("jacobian_ensembles")


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


def start_logging() -> None:
    """Show what the package logs: with bars on a terminal, otherwise as plain lines with the time."""
    terminal = sys.stderr.isatty()
    handler: logging.Handler = _Bars() if terminal else logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s" if terminal else "%(asctime)s %(message)s", "%H:%M:%S"))
    log.handlers = [handler]
    log.setLevel(logging.DEBUG if terminal else logging.INFO)
    log.propagate = False
