# Training recipes compared on the validation split: how the settings in config.yaml were chosen.


rule train_trial:
    input:
        dataset=dataset_of,
    output:
        record=paths.trial,
        provenance=paths.provenance(paths.trial),
    log:
        paths.log(paths.trial),
    benchmark:
        paths.benchmark(paths.trial)
    conda:
        "../../environment.yml"
    resources:
        **LONG,
    params:
        seed=cfg.seed,
        data=leaves(cfg.data, "validation_images", "train_images"),
        model=lambda w: cfg.trials[w.trial].model.network,
        recipe=lambda w: cfg.trials[w.trial].training.recipe(cyclic=False).model_dump(),
        objective=lambda w: cfg.trials[w.trial].training.goal,
        code=lambda w: code(
            "train_trial",
            w.dataset,
            cfg.trials[w.trial].model.architecture,
            cfg.trials[w.trial].training.objective,
        ),
    message:
        "Try recipe {wildcards.trial}: {wildcards.dataset} lambda={wildcards.lambda_jr}"
    script:
        "../scripts/train_trial.py"


rule compare_trials:
    input:
        records=expand(
            paths.trial,
            trial=cfg.trials,
            dataset=cfg.datasets,
            lambda_jr=map(number_token, cfg.grid.lambdas),
        ),
    output:
        table=paths.trials,
        provenance=paths.provenance(paths.trials),
    log:
        paths.log(paths.trials),
    benchmark:
        paths.benchmark(paths.trials)
    localrule: True
    conda:
        "../../environment.yml"
    resources:
        **GATHER,
    params:
        code=code("compare_trials"),
    message:
        "Compare the training recipes"
    script:
        "../scripts/compare_trials.py"


rule recipe:
    input:
        files_of("recipe"),
