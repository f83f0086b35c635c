# What all rules share: the validated configuration, the paths built from it, and the few helpers they use.
import base64
import json
import os
import sys
import zlib

from snakemake.exceptions import WorkflowError
from snakemake.settings.types import RerunTrigger

sys.path.insert(0, str(Path(workflow.basedir) / "src"))

from jacobian_ensembles.config import ConfigError, load_config
from jacobian_ensembles.devices import wants_gpu
from jacobian_ensembles.layout import WILDCARDS, Layout, cell_wildcards, number_token
from jacobian_ensembles.source import script_digest

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

# Snakemake's own code trigger is the time stamp of a script: a checkout or a comment would re-run all behind it. The
# parameter `code` of each rule, see code(), takes its place. No trigger may make a dataset that is there be fetched
# again: missing results behind an `ancient` input are left out of such a plan.
if workflow.dag_settings is not None:
    workflow.dag_settings.rerun_triggers -= {
        RerunTrigger.CODE,
        RerunTrigger.SOFTWARE_ENV,
    }

paths = Layout(cfg.run.results, cfg.run.name)
gpu_slot = int(wants_gpu(cfg.compute.device))


wildcard_constraints:
    **WILDCARDS,


def code(script):
    """The digest of a script and the science it calls: an edit there re-runs its jobs, a comment does not."""
    return digests[script]


def leaves(section, *names):
    """The named settings of a section, as one dictionary: names and values are tracked together."""
    return section.model_dump(include=set(names))


cell_at = {tuple(cell_wildcards(cell).items()): cell for cell in cfg.cells}


def learners_of(wildcards):
    """The learner files of one ensemble."""
    return paths.members(cell_at[tuple(wildcards.items())])


def blocks_of(wildcards):
    """The crafted blocks of one ensemble and eps, in seed order."""
    blocks = cfg.attack.seed_blocks()
    return [
        paths.uaps.format(**wildcards, first=first, last=last) for first, last in blocks
    ]


def of_every_cell(template):
    """A template filled in for every model of the run."""
    return [template.format(**cell_wildcards(cell)) for cell in cfg.cells]


def of_every_attack(template):
    """A template filled in for every (model, eps) of the run."""
    tokens = map(number_token, cfg.grid.eps)
    return [
        t.replace("{eps}", eps)
        for eps in tokens
        for t in of_every_cell(template.replace("{eps}", "{{eps}}"))
    ]
