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
        ensemble=methods_of(in_one_job=False),
    conda:
        "../../environment.yml"
    resources:
        **TRAIN,
    params:
        **training_params,
    message:
        "Train learner {wildcards.member}: {wildcards.dataset} {wildcards.ensemble} "
        "lambda={wildcards.lambda_jr} repetition {wildcards.repetition}"
    script:
        "../scripts/train_learner.py"


# snapshots of one run, or learners that the objective joins
use rule train_learner as train_together with:
    output:
        learner=paths.learners,
        provenance=paths.provenance(paths.learners),
    log:
        paths.log(paths.learners),
    benchmark:
        paths.benchmark(paths.learners)
    wildcard_constraints:
        ensemble=methods_of(in_one_job=True),
    resources:
        **LONG,
    message:
        "Train together: {wildcards.dataset} {wildcards.ensemble} M={wildcards.members} "
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
