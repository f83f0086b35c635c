# Base learners, and the ensembles stacked from them.


def training_of(cyclic):
    """The parameters of training one learner, or the whole of a cyclic run."""
    return {
        "seed": cfg.seed,
        "data": leaves(cfg.data, "validation_images", "train_images"),
        "model": cfg.model.network,
        "recipe": cfg.training.recipe(cyclic).model_dump(),
        "ensemble": lambda w: cfg.reference(w.ensemble),
        "code": lambda w: code(
            "train_learner", w.dataset, w.ensemble, cfg.model.architecture
        ),
    }


def methods_of(cyclic):
    """A pattern of the ensemble methods whose learners are, or are not, snapshots of one run."""
    chosen = [name for name in cfg.ensembles if cfg.is_cyclic(name) == cyclic]
    return "|".join(chosen) or "none"


rule train_learner:
    input:
        dataset=dataset_of,
    output:
        learner=paths.learner,
        provenance=paths.provenance(paths.learner),
    log:
        paths.log(paths.learner),
    benchmark:
        paths.benchmark(paths.learner)
    wildcard_constraints:
        ensemble=methods_of(cyclic=False),
    conda:
        "../../environment.yml"
    resources:
        **TRAIN,
    params:
        **training_of(cyclic=False),
    message:
        "Train learner {wildcards.member}: {wildcards.dataset} {wildcards.ensemble} "
        "lambda={wildcards.lambda_jr} repetition {wildcards.repetition}"
    script:
        "../scripts/train_learner.py"


use rule train_learner as train_snapshots with:
    output:
        learner=paths.snapshots,
        provenance=paths.provenance(paths.snapshots),
    log:
        paths.log(paths.snapshots),
    benchmark:
        paths.benchmark(paths.snapshots)
    wildcard_constraints:
        ensemble=methods_of(cyclic=True),
    resources:
        **LONG,
    params:
        **training_of(cyclic=True),
    message:
        "Train snapshots: {wildcards.dataset} {wildcards.ensemble} M={wildcards.members} "
        "lambda={wildcards.lambda_jr} repetition {wildcards.repetition}"


rule assemble_ensemble:
    input:
        learners=learners_of,
    output:
        ensemble=paths.ensemble,
        provenance=paths.provenance(paths.ensemble),
    log:
        paths.log(paths.ensemble),
    benchmark:
        paths.benchmark(paths.ensemble)
    conda:
        "../../environment.yml"
    resources:
        **ASSEMBLE,
    params:
        code=code("assemble_ensemble"),
    message:
        "Assemble {wildcards.dataset} {wildcards.ensemble} M={wildcards.members} "
        "lambda={wildcards.lambda_jr} repetition {wildcards.repetition}"
    script:
        "../scripts/assemble_ensemble.py"


rule learners:
    input:
        of_every_cell(paths.ensemble),
