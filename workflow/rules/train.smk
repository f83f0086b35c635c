# Base learners, and the ensembles stacked from them.


rule train_learner:
    input:
        dataset=ancient(paths.dataset),  # verified by checksum: fetched again, it is the same
    output:
        learner=paths.learner,
        provenance=paths.provenance(paths.learner),
    log:
        paths.log(paths.learner),
    benchmark:
        paths.benchmark(paths.learner)
    wildcard_constraints:
        ensemble="bagging|voting",
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=120,
        gpu=gpu_slot,
    params:
        seed=cfg.seed,
        data=leaves(cfg.data, "validation_images", "train_images"),
        model=leaves(cfg.model, "activation", "dropout", "normalize"),
        training=leaves(
            cfg.training,
            "optimizer",
            "learning_rate",
            "momentum",
            "weight_decay",
            "batch_size",
            "epochs",
            "projections",
        ),
        code=code("train_learner"),
    message:
        "Train learner {wildcards.member}: {wildcards.dataset} {wildcards.ensemble} "
        "lambda={wildcards.lambda_jr} repetition {wildcards.repetition}"
    script:
        "../scripts/train_learner.py"


rule train_snapshots:
    input:
        dataset=ancient(paths.dataset),  # verified by checksum: fetched again, it is the same
    output:
        snapshots=paths.snapshots,
        provenance=paths.provenance(paths.snapshots),
    log:
        paths.log(paths.snapshots),
    benchmark:
        paths.benchmark(paths.snapshots)
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=240,
        gpu=gpu_slot,
    params:
        seed=cfg.seed,
        data=leaves(cfg.data, "validation_images", "train_images"),
        model=leaves(cfg.model, "activation", "dropout", "normalize"),
        training=leaves(
            cfg.training,
            "optimizer",
            "learning_rate",
            "momentum",
            "weight_decay",
            "batch_size",
            "snapshot_epochs",
            "projections",
        ),
        code=code("train_snapshots"),
    message:
        "Train snapshots: {wildcards.dataset} M={wildcards.members} "
        "lambda={wildcards.lambda_jr} repetition {wildcards.repetition}"
    script:
        "../scripts/train_snapshots.py"


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
    threads: 1
    resources:
        mem_mb=300,
        runtime=5,
        gpu=0,
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
