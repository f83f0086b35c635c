# What all rules share: the validated configuration, the paths built from it, and the few helpers they use.
import sys

from snakemake.exceptions import WorkflowError
from snakemake.settings.types import RerunTrigger

sys.path.insert(0, str(Path(workflow.basedir) / "src"))

from jacobian_ensembles.config import ConfigError, load_config
from jacobian_ensembles.devices import wants_gpu
from jacobian_ensembles.layout import WILDCARDS, Layout, cell_wildcards, number_token
from jacobian_ensembles.source import script_digest

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
    return script_digest(
        Path(workflow.basedir) / "workflow" / "scripts" / f"{script}.py"
    )


def leaves(section, *names):
    """The named settings of a section, as one dictionary: names and values are tracked together."""
    return section.model_dump(include=set(names))


def learners_of(wildcards):
    """The learner files of one ensemble."""
    cell = next(
        c for c in cfg.cells if cell_wildcards(c).items() <= dict(wildcards).items()
    )
    return paths.members(cell)


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
