# Base learners, and the ensembles stacked from them.


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
