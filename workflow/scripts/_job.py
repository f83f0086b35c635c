"""What every adapter does around its one call: log, threads, device, provenance. Nothing else knows Snakemake."""

import json
import logging
import os
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

from jacobian_ensembles.extensions.code_digest import adapter_digest, extension_digest, source_digest
from jacobian_ensembles.extensions.failures import where_it_broke
from jacobian_ensembles.runs.devices import claim_gpu
from jacobian_ensembles.runs.provenance import commit, files_of_job, provenance, short_commit
from jacobian_ensembles.storage.checksums import PROVENANCE, verify_checksum, write_record

if TYPE_CHECKING:
    from jacobian_ensembles.config.cells import Cell

#: What a job adds to its provenance.
more: dict[str, Any] = {}


@contextmanager
def running(snakemake: Any) -> Iterator[str]:
    """Surround a job; yields the device it may use, ``cpu`` or ``cuda``.

    Everything logged goes to the rule's log file. A job that fails leaves its traceback there, or on the terminal
    if the file cannot be written. A job that succeeds leaves its provenance where the rule has an output of that
    name. Import torch only inside: threads and the GPU are chosen before it.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C reaches jobs, too: they end at once, without a traceback
    os.environ["OMP_NUM_THREADS"] = str(snakemake.threads)
    os.environ |= {"MPLBACKEND": "agg", "LC_ALL": "C.UTF-8"}  # a notebook's backend, or a locale, may be missing here
    Path(snakemake.log[0]).parent.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(message)s",
        datefmt="%H:%M:%S",
        filename=snakemake.log[0],
        filemode="w",
        encoding="utf-8",
    )
    name = " ".join([snakemake.rule, *map(str, snakemake.wildcards)])
    started = time.monotonic()
    with ExitStack() as stack:
        try:
            run = snakemake.config["started"]
            as_started = source_digest(Path(__file__).parent) == run["sources"]
            _check_code(snakemake, as_started)
            _check_inputs(snakemake)
            gpu = stack.enter_context(claim_gpu(snakemake.config["compute"]["gpu_slots"])) if _gpu(snakemake) else None
            yield "cpu" if gpu is None else "cuda"
        except Exception as error:
            where = where_it_broke(error)
            logging.error("%s failed: %s: %s%s", name, type(error).__name__, error, f" ({where})" if where else "")
            try:
                with Path(snakemake.log[0]).open("a", encoding="utf-8") as log:
                    traceback.print_exc(file=log)
            except OSError:  # the disk may be full
                traceback.print_exc()
            sys.exit(1)
        if "provenance" in snakemake.output.keys():  # noqa: SIM118 - not a mapping
            settings = json.loads(
                json.dumps({"rule": snakemake.rule, **dict(snakemake.wildcards), **dict(snakemake.params)})
            )
            device = "cpu" if gpu is None else f"cuda {gpu}"
            seconds = time.monotonic() - started
            root = "{results}/{name}".format(**snakemake.config["run"])
            files = files_of_job(snakemake.output.provenance, root, snakemake.input, snakemake.output)
            made = provenance(settings, device, snakemake.threads, seconds, run["commit"] if as_started else None)
            write_record(snakemake.output.provenance, made | files | more)


def _check_code(snakemake: Any, as_started: bool) -> None:
    """Refuse to compute with other code than the run was started with: the result would pass for the old code's."""
    script = sys.modules["__main__"].__file__  # the adapter, under the path it has in the repository
    for name, digest in snakemake.params.get("code", {}).items():
        if as_started and not {":", "/"} & set(name):  # the project's own
            continue
        now = adapter_digest(script) if name == Path(script).stem else extension_digest(name)
        if digest != now:
            raise RuntimeError(
                f"the code of this job ({name}) was edited after Snakemake was started. Start Snakemake again."
            )


def _check_inputs(snakemake: Any) -> None:
    """Refuse inputs that are not what the jobs that made them left: altered, or put there from elsewhere."""
    for path in snakemake.input:
        if not path.endswith(PROVENANCE):  # these have a checksum of their own
            verify_checksum(path)


def _gpu(snakemake: Any) -> bool:
    return int(snakemake.resources.get("gpu", 0)) > 0


def origin() -> str:
    """The commit that computes now, as figures and tables name it; empty outside a repository."""
    return short_commit(commit() or "", 12)


def cell(wildcards: Any) -> "Cell":
    """The model that a job's wildcards spell."""
    from jacobian_ensembles.config.cells import Cell  # with pydantic, which the shortest jobs do without

    return Cell(
        dataset=wildcards.dataset,
        ensemble=wildcards.ensemble,
        members=int(wildcards.members),
        **{"lambda": float(wildcards.lambda_jr)},
        repetition=int(wildcards.repetition),
    )


def single(wildcards: Any) -> "Cell":
    """The single network of the training that a job's wildcards spell."""
    from jacobian_ensembles.config.cells import Cell

    return Cell(
        dataset=wildcards.dataset,
        ensemble=wildcards.ensemble,
        members=1,
        **{"lambda": float(wildcards.lambda_jr)},
        repetition=int(wildcards.repetition),
    )


def images(snakemake: Any) -> Any:
    """The dataset among a job's inputs, with the images that its parameters choose."""
    from jacobian_ensembles.stages.inputs import StoredImages

    return StoredImages(snakemake.input.dataset, **snakemake.params.data, dataset=snakemake.wildcards.dataset)


def ensemble(snakemake: Any) -> Any:
    """The ensemble among a job's inputs."""
    from jacobian_ensembles.stages.inputs import StoredEnsemble
    from jacobian_ensembles.storage.files import stored_checksum

    return StoredEnsemble(
        snakemake.input.ensemble,
        int(snakemake.wildcards.members),
        **snakemake.params.extensions,
        data=stored_checksum(snakemake.input.dataset),
    )
