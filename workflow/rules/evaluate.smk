# Clean accuracy and Jacobians, lower bounds, and the tables that gather everything.


rule evaluate_ensemble:
    input:
        ensemble=paths.ensemble,
        dataset=dataset_of,
    output:
        clean=paths.clean,
        jacobian=paths.jacobian,
        provenance=paths.provenance(paths.clean),
    log:
        paths.log(paths.clean),
    benchmark:
        paths.benchmark(paths.clean)
    conda:
        "../../environment.yml"
    resources:
        **EVALUATE,
    params:
        data=leaves(cfg.data, "validation_images", "test_images"),
        jacobian_images=min(
            cfg.theory.images, cfg.data.test_images or cfg.theory.images
        ),
        extensions=extensions_of,
        code=lambda w: code(
            "evaluate_ensemble", w.dataset, w.ensemble, cfg.model.architecture
        ),
    message:
        "Evaluate {wildcards.dataset} {wildcards.ensemble} M={wildcards.members} "
        "lambda={wildcards.lambda_jr} repetition {wildcards.repetition}"
    script:
        "../scripts/evaluate_ensemble.py"


rule certify_ensemble:
    input:
        ensemble=paths.ensemble,
        dataset=dataset_of,
    output:
        record=paths.certified,
        provenance=paths.provenance(paths.certified),
    log:
        paths.log(paths.certified),
    benchmark:
        paths.benchmark(paths.certified)
    conda:
        "../../environment.yml"
    resources:
        **LONG,
    params:
        data=leaves(cfg.data, "validation_images", "test_images"),
        bounds={"eps": cfg.grid.eps, "clip": cfg.attack.clip},
        extensions=extensions_of,
        code=lambda w: code(
            "certify_ensemble", w.dataset, w.ensemble, cfg.model.architecture
        ),
    message:
        "Certify {wildcards.dataset} {wildcards.ensemble} M={wildcards.members} "
        "lambda={wildcards.lambda_jr} repetition {wildcards.repetition}"
    script:
        "../scripts/certify_ensemble.py"


rule aggregate_metrics:
    input:
        records=paths.records,
    output:
        metrics=paths.metrics,
        summary=paths.summary,
        checksums=paths.checksums,
        provenance=paths.provenance(paths.metrics),
    log:
        paths.log(paths.metrics),
    benchmark:
        paths.benchmark(paths.metrics)
    localrule: True
    conda:
        "../../environment.yml"
    resources:
        **GATHER,
    params:
        clean_weight=cfg.metrics.clean_weight,
        confidence=cfg.metrics.confidence,
        code=code("aggregate_metrics"),
    message:
        f"Aggregate the metrics of run {cfg.run.name}"
    script:
        "../scripts/aggregate_metrics.py"


rule metrics:
    input:
        paths.metrics,
        paths.summary,
