# What the rules of several stages share: the paths, and what a rule's parameters are made of.
from functools import cache

from jacobian_ensembles.runs.layout import (
    WILDCARDS,
    Layout,
    cell_wildcards,
    number_token,
    too_long,
)
from jacobian_ensembles.extensions.code_digest import extension_digest
from jacobian_ensembles.extensions.origin import content_digest
from jacobian_ensembles.extensions.references import short_name
from jacobian_ensembles.config.variants import RunAttacks
from jacobian_ensembles.paper import catalogue
from jacobian_ensembles.stages.own_figures import own_figure

paths = Layout(cfg.run.results, cfg.run.name)
# the catalogue's, and the user's by name
try:
    own_figures = {short_name(given): own_figure(given) for given in cfg.figures.own}
except ValueError as error:
    raise WorkflowError(str(error)) from None
figures_of_runs = (*catalogue.FIGURES, *own_figures.values())
run_attacks = RunAttacks(cfg)


wildcard_constraints:
    **WILDCARDS,


@cache
def code(script, *names):
    """The digests of a script with the science it calls, and of what names lead to (a dataset, an ensemble method, an
    architecture, an attack, a figure), built in or the user's: an edit there re-runs its jobs, a comment does not.
    """
    references = map(cfg.reference, names)
    own = {r: digests["names"].get(r) or extension_digest(r) for r in references}
    return {script: digests["scripts"][script]} | {
        name: d for name, d in own.items() if d
    }


@cache
def is_own(name):
    """Whether a dataset or ensemble method is the user's."""
    return cfg.reference(name) != name


own_methods = {name: cfg.reference(name) for name in cfg.ensembles if is_own(name)}


@cache
def file_of(dataset):
    """Where a dataset is stored: a built-in one for all runs, a user's for this one."""
    template = paths.own_dataset if is_own(dataset) else paths.dataset
    return template.format(dataset=dataset)


def extensions_of(wildcards):
    """The user's code that loading an ensemble needs, or the names of what is built in."""
    return {
        "architecture": cfg.model.architecture,
        "method": cfg.reference(wildcards.ensemble),
    }


def leaves(section, *names):
    """The named settings of a section, as one dictionary: names and values are tracked together."""
    return section.model_dump(include=set(names))


def in_this_run(item):
    """Whether this run has a figure or table of the catalogue."""
    has = {
        "repetitions": cfg.repetitions > 1,
        "ablation": cfg.ablation,
        "stress": cfg.stress.asked,
        "transfer": cfg.stress.transfer_eps,
        "trials": cfg.trials,
        "members": cfg.attack.members,
        "certified": cfg.metrics.certify,
    }
    return item.belongs_to([name for name, value in has.items() if value])


def files_of_item(item):
    """The files of one figure or table."""
    folder = paths.tables if item in catalogue.TABLES else paths.figures
    return [f"{folder}/{item.name}.{kind}" for kind in item.kinds]


# the optional tables that this run has
further_tables = {"images", "members"} if cfg.attack.members else {"images"}


def files_of(target):
    """The files of the figures and tables that a target makes."""
    return [
        path
        for item in (*figures_of_runs, *catalogue.TABLES)
        if item.target == target
        if item.only not in ("members", "certified") or in_this_run(item)
        for path in files_of_item(item)
    ]


def recipe_of(wildcards):
    """How the learners of an ensemble are trained."""
    return cfg.training.recipe(cfg.is_cyclic(wildcards.ensemble)).model_dump()


# for training one learner, or all of an ensemble in one job
training_params = {
    "seed": cfg.seed,
    "data": leaves(cfg.data, "validation_images", "train_images"),
    "model": cfg.model.network,
    "recipe": recipe_of,
    "objective": cfg.training.goal,
    "ensemble": lambda w: cfg.reference(w.ensemble),
    "code": lambda w: code(
        "train_learner",
        w.dataset,
        w.ensemble,
        cfg.model.architecture,
        cfg.training.objective,
    ),
}


def methods_of(in_one_job):
    """A pattern for the ensemble methods whose learners are, or are not, trained in one job."""
    chosen = [name for name in cfg.ensembles if cfg.in_one_job(name) == in_one_job]
    return "|".join(chosen) or "none"


# what the catalogue's functions may ask for
settings_of_the_run = {
    "objective": short_name(cfg.training.objective),
    "eps": cfg.figures.eps,
    "confidence": cfg.metrics.confidence,
    "clean_weight": cfg.metrics.clean_weight,
    "clip": cfg.attack.clip,
}


def item_named(name):
    """A figure or table of the catalogue, or a figure of the user's."""
    return own_figures.get(name) or catalogue.find(name)


def sources_of(name):
    """The tables that a figure or table is made from, by name."""
    item = item_named(name)
    optional = [source for source in item.optional if source in further_tables]
    return {source: paths.sources[source] for source in (*item.inputs, *optional)}


def settings_for(name):
    """The settings that a figure or table is made with."""
    return {name: settings_of_the_run[name] for name in item_named(name).settings}


def caption_of(name):
    """What Snakemake's report says about a figure or table."""
    item = item_named(name)
    return f"{item.caption} {item.alt}".rstrip()
