# The theorem against trained nets, and the paper's claims against the run.

claims_table = f"{paths.tables}/claims"


rule measure_jacobian:
    input:
        ensemble=paths.ensemble,
        dataset=dataset_of,
    output:
        statistics=paths.jacobian,
        provenance=paths.provenance(paths.jacobian),
    log:
        paths.log(paths.jacobian),
    benchmark:
        paths.benchmark(paths.jacobian)
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=1500,
        runtime=10,
        gpu=gpu_slot,
    params:
        data=leaves(cfg.data, "validation_images"),
        images=min(cfg.theory.images, cfg.data.test_images or cfg.theory.images),
        extensions=extensions_of,
        code=lambda w: code(
            "measure_jacobian", w.dataset, w.ensemble, cfg.model.architecture
        ),
    message:
        "Measure Jacobians: {wildcards.dataset} {wildcards.ensemble} M={wildcards.members} "
        "lambda={wildcards.lambda_jr} repetition {wildcards.repetition}"
    script:
        "../scripts/measure_jacobian.py"


rule aggregate_jacobian:
    input:
        statistics=of_every_cell(paths.jacobian),
    output:
        table=paths.jacobian_table,
        provenance=paths.provenance(paths.jacobian_table),
    log:
        paths.log(paths.jacobian_table),
    benchmark:
        paths.benchmark(paths.jacobian_table)
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=500,
        runtime=10,
        gpu=0,
    params:
        code=code("aggregate_jacobian"),
    message:
        "Aggregate the Jacobian norms of run {cfg.run.name}"
    script:
        "../scripts/aggregate_jacobian.py"


rule check_claims:
    input:
        metrics=paths.metrics,
        summary=paths.summary,
        jacobian=paths.jacobian_table,
    output:
        csv=report(
            f"{claims_table}.csv",
            caption="../report/claims.rst",
            category="Claims",
            labels={"table": "The paper's claims"},
        ),
        markdown=f"{claims_table}.md",
        provenance=paths.provenance(f"{claims_table}.csv"),
    log:
        paths.log(f"{claims_table}.csv"),
    benchmark:
        paths.benchmark(f"{claims_table}.csv")
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=500,
        runtime=10,
        gpu=0,
    params:
        confidence=cfg.metrics.confidence,
        run=cfg.run.name,
        banner=cfg.run.banner,
        code=code("check_claims"),
    message:
        "Check the paper's claims"
    script:
        "../scripts/check_claims.py"


rule theory:
    input:
        paths.jacobian_table,
        expand(supplement, figure="theory", kind=["pdf", "png"]),


rule claims:
    input:
        expand(f"{claims_table}.{{kind}}", kind=["csv", "md"]),
