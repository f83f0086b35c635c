"""Imported by every Python process that a test starts with this folder on its path: lists what jobs read undeclared.

A job that reads a result that its rule does not name as an input works here, where all results lie side by side, and
fails where each job gets copies of its inputs alone. ``TEST_READS`` is the file that gets a line for each.
"""

import atexit
import os
import sys

list_of = os.environ.get("TEST_READS")
read = set()


def note(path):
    if isinstance(path, (str, os.PathLike)) and "results" in os.fspath(path):
        read.add(os.path.abspath(path))


def tell():
    job = getattr(sys.modules["__main__"], "snakemake", None)
    if job is None:
        return
    declared = {os.path.abspath(path) for path in (*job.input, *job.output, *job.log)}
    results = os.path.join(os.path.abspath("results"), "")
    strange = {path.removeprefix(results) for path in read - declared if path.startswith(results)}
    # checksums are looked at where they are, and what is shipped is part of the repository
    strange = {path for path in strange if not path.endswith((".provenance.json", "SHA256SUMS"))}
    strange = {path for path in strange if not path.startswith("reference/")}
    if strange:
        with open(list_of, "a", encoding="utf-8") as file:
            file.writelines(f"{job.rule} {path}\n" for path in sorted(strange))


if list_of:
    import safetensors

    def safe_open(path, *args, original=safetensors.safe_open, **options):  # it opens files past Python
        note(path)
        return original(path, *args, **options)

    safetensors.safe_open = safe_open
    sys.addaudithook(lambda event, args: note(args[0]) if event == "open" and "r" in (args[1] or "") else None)
    atexit.register(tell)
