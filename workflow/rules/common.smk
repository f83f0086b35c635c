# What all rules share: the validated configuration, the paths built from it, and the few helpers they use.
import base64
import json
import os
import sys
import threading
import time
import zlib
from functools import cache

import snakemake.jobs
from snakemake.exceptions import WorkflowError
from snakemake.scheduling.job_scheduler import JobScheduler

sys.path.insert(0, str(Path(workflow.basedir) / "src"))

from jacobian_ensembles.data.cards import CARDS
from jacobian_ensembles.experiment.config import ConfigError, load_config
from jacobian_ensembles.experiment.devices import wants_gpu
from jacobian_ensembles.paper import catalogue
from jacobian_ensembles.experiment.layout import Layout, WILDCARDS, cell_wildcards, number_token
from jacobian_ensembles.experiment.code_digest import extension_digest, script_digest

scripts = Path(workflow.basedir) / "workflow" / "scripts"

# Jobs on a cluster parse these files anew, perhaps hours after someone edited them. What the run was started with, its
# configuration and the digests of its code, goes with them: a job uses that configuration, and refuses other code.
started_with = os.environ.get("JACOBIAN_ENSEMBLES_RUN", "")
if workflow.is_main_process:
    digests = {path.stem: script_digest(path) for path in scripts.glob("[!_]*.py")}
    packed = zlib.compress(json.dumps([config, digests], default=str).encode())
    os.environ["JACOBIAN_ENSEMBLES_RUN"] = base64.b64encode(packed).decode()
else:
    given, digests = json.loads(zlib.decompress(base64.b64decode(started_with)))
    config.clear()
    config.update(given)


envvars:
    "JACOBIAN_ENSEMBLES_RUN",


try:
    cfg = load_config(config)
except ConfigError as error:
    raise WorkflowError(str(error)) from None

# adapters read from here what must not re-run anything: slots per device, and where the data lies
config["compute"] = cfg.compute.model_dump()
config["data"] = cfg.data.model_dump()

# Snakemake takes a script that is younger than its results for changed code: a checkout, a comment or a touch would re-run
# all behind it. It has no setting for this trigger that a workflow could make, so: no script is young. The parameter
# `code` of each rule, see code(), takes its place.
snakemake.jobs.get_script_mtime = lambda path: 0.0


def look_again(scheduler, delay):
    """Have Snakemake look for startable jobs in so many seconds, unless it is to look by then anyway.

    Its own way sets a timer whenever it has looked, so that each finished job adds a chain of looks that never ends:
    after 300 jobs it looked all the time, which took almost half a core.
    """
    now = time.monotonic()
    if now < getattr(scheduler, "next_look", now) <= now + delay:
        return
    scheduler.next_look = now + delay
    timer = threading.Timer(delay, scheduler._open_jobs.release)
    timer.daemon = True
    timer.start()


JobScheduler._schedule_reevalutation = look_again

paths = Layout(cfg.run.results, cfg.run.name)
gpu_slot = int(wants_gpu(cfg.compute.device))


wildcard_constraints:
    **WILDCARDS,


@cache
def code(script, *names):
    """The digests of a script with the science it calls, and of what names lead to (a dataset, an ensemble method, an
    architecture, an attack, a figure), built in or the user's: an edit there re-runs its jobs, a comment does not.
    """
    references = map(cfg.reference, names)
    own = {reference: extension_digest(reference) for reference in references}
    return {script: digests[script]} | {name: d for name, d in own.items() if d}


def is_own(name):
    """Whether a dataset or ensemble method is the user's."""
    return cfg.reference(name) != name


def dataset_of(wildcards):
    """A dataset's file. A built-in one, verified by checksum, is the same when fetched again; a user's may not be."""
    path = paths.dataset.format(dataset=wildcards.dataset)
    return path if is_own(wildcards.dataset) else ancient(path)


def extensions_of(wildcards):
    """What loading an ensemble needs of the user's, or the names of what is built in."""
    return {
        "architecture": cfg.model.architecture,
        "method": cfg.reference(wildcards.ensemble),
    }


def leaves(section, *names):
    """The named settings of a section, as one dictionary: names and values are tracked together."""
    return section.model_dump(include=set(names))


cell_at = {tuple(cell_wildcards(cell).items()): cell for cell in cfg.cells}


def learners_of(wildcards):
    """The learner files of one ensemble."""
    cell = cell_at[tuple(wildcards.items())]
    return paths.members(cell, cfg.is_cyclic(cell.ensemble))


def blocks_of(wildcards):
    """The crafted blocks of one ensemble and eps, in seed order."""
    blocks = cfg.attack.seed_blocks()
    return [
        paths.uaps.format(**wildcards, first=first, last=last) for first, last in blocks
    ]


def of_every_cell(template):
    """A template filled in for every model of the run."""
    return [template.format(**cell_wildcards(cell)) for cell in cfg.cells]


def of_every_attack(*templates):
    """Templates filled in for every (model, eps) of the run, one template after another."""
    return [
        template.format(**cell_wildcards(cell), eps=number_token(eps))
        for template in templates
        for eps in cfg.grid.eps
        for cell in cfg.cells
    ]


def variant_blocks_of(wildcards):
    """The crafted blocks of one variant, ensemble and eps, in seed order."""
    blocks = cfg.ablation[wildcards.variant].seed_blocks()
    return [
        paths.variant_uaps.format(**wildcards, first=first, last=last)
        for first, last in blocks
    ]


def results_to_ship():
    """What a run is made of: its trials, or everything that follows from its models."""
    if cfg.trials:
        return rules.recipe.input
    wanted = [*rules.figures.input, *rules.tables.input, *rules.theory.input]
    wanted += [*rules.claims.input, *rules.worst_of_k.input]
    if cfg.ablation:
        wanted += rules.ablation.input
    if cfg.grid.repetitions > 1:
        wanted += rules.spread.input
    return wanted


def of_every_model(template):
    """A template filled in for the first training of every model of the run."""
    cells = [cell for cell in cfg.cells if cell.repetition == 0]
    return [template.format(**cell_wildcards(c)) for c in cells]


def records_of_the_run():
    """The provenance records of all jobs that the page rests on, in the order of the workflow."""
    blocks = [
        paths.uaps.replace("{first}", str(first)).replace("{last}", str(last))
        for first, last in cfg.attack.seed_blocks()
    ]
    results = [
        *expand(paths.dataset, dataset=cfg.datasets),
        *(path for cell in cfg.cells for path in paths.members(cell, cfg.is_cyclic(cell.ensemble))),
        *of_every_cell(paths.ensemble),
        *of_every_cell(paths.clean),
        *of_every_attack(*blocks),
        *of_every_attack(paths.worst),
        *of_every_cell(paths.jacobian),
        paths.metrics,
        paths.examples,
        *expand(f"{paths.figures}/{{figure}}.pdf", figure=names_of("figures")),
        *expand(f"{paths.tables}/{{table}}.csv", table=names_of("tables", "claims")),
    ]
    return list(dict.fromkeys(map(paths.provenance, results)))


def names_of(*targets):
    """The figures and tables of this run that some targets make."""
    return [
        item.name
        for target in targets
        for item in catalogue.items_of(target)
        if item.belongs_to(cfg.grid.repetitions, bool(cfg.ablation))
    ]


def files_of(target):
    """The files of the figures and tables that a target makes, whether or not `all` wants them."""
    return [
        f"{paths.figures if item in catalogue.FIGURES else paths.tables}/{item.name}.{kind}"
        for item in catalogue.items_of(target)
        for kind in item.kinds
    ]
