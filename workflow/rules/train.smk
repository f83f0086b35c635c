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
        ensemble=r"(?!snapshot)\w+",
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
        model=leaves(
            cfg.model, "architecture", "options", "activation", "dropout", "normalize"
        ),
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
        ensemble=lambda w: cfg.reference(w.ensemble),
        code=lambda w: code(
            "train_learner", w.dataset, w.ensemble, cfg.model.architecture
        ),
    message:
        "Train learner {wildcards.member}: {wildcards.dataset} {wildcards.ensemble} "
        "lambda={wildcards.lambda_jr} repetition {wildcards.repetition}"
    script:
        "../scripts/train_learner.py"


rule train_snapshots:
    input:
        dataset=dataset_of,
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
        model=leaves(
            cfg.model, "architecture", "options", "activation", "dropout", "normalize"
        ),
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
        code=lambda w: code("train_snapshots", w.dataset, cfg.model.architecture),
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
