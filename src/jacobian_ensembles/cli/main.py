"""The command line: one command run, its failures said in one line, its exit code."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence

from jacobian_ensembles.cli.parser import parser
from jacobian_ensembles.cli.progress import start_logging
from jacobian_ensembles.config.schema import ConfigError
from jacobian_ensembles.extensions.failures import one_line, where_it_broke
from jacobian_ensembles.extensions.references import ExtensionError
from jacobian_ensembles.runs.devices import NoFreeSlotError
from jacobian_ensembles.storage.files import ArtifactError

log = logging.getLogger("jacobian_ensembles")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: The command line without the program's name; None for the process's own.

    Returns:
        The exit code: 0, 1 if the work failed, 2 if the configuration cannot be used, or 130 if it was interrupted. A
        wrong command line ends the process with 2.
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
        print("Stopped.", file=sys.stderr)
        return 130
    return 0
