"""Imported by every Python process that a test starts with this folder on its path: does harm once, at one moment.

``TEST_FAULT`` names, as JSON, the moment (a pattern of a message about to be logged to a file, or of a path about to
be renamed into place), the signal, and who gets it: the job, or the Snakemake that started it.
"""

import json
import logging
import os
import re
import signal

fault = json.loads(os.environ.get("TEST_FAULT", "null"))


def strike(moment):
    if not re.search(fault["at"], moment):
        return
    victim = int(os.environ["TEST_SNAKEMAKE_PID"]) if fault["victim"] == "snakemake" else os.getpid()
    try:
        with open(fault["flag"], "x") as flag:
            flag.write(str(victim))
    except FileExistsError:
        return
    os.kill(victim, getattr(signal, f"SIG{fault['signal']}"))


if fault:
    os.environ.setdefault("TEST_SNAKEMAKE_PID", str(os.getpid()))  # the first process is Snakemake's own
    # what a shell starts in the background, a whole test run say, ignores SIGINT, and so would everything below it
    signal.signal(signal.SIGINT, signal.default_int_handler)

    def emit(self, record, original=logging.FileHandler.emit):
        original(self, record)
        strike(record.getMessage())

    def replace(source, target, original=os.replace, **kwargs):
        strike(str(target))
        original(source, target, **kwargs)

    logging.FileHandler.emit = emit
    os.replace = replace
