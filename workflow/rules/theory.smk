# The theorem against trained nets, and the paper's claims against the run.


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
    localrule: True
    conda:
        "../../environment.yml"
    resources:
        **GATHER,
    params:
        code=code("aggregate_jacobian"),
    message:
        f"Aggregate the Jacobian norms of run {cfg.run.name}"
    script:
        "../scripts/aggregate_jacobian.py"


rule measure_image_error:
    input:
        clean=of_every_cell(paths.clean),
    output:
        table=paths.image_error,
        provenance=paths.provenance(paths.image_error),
    log:
        paths.log(paths.image_error),
    benchmark:
        paths.benchmark(paths.image_error)
    localrule: True
    conda:
        "../../environment.yml"
    resources:
        **GATHER,
    params:
        code=code("measure_image_error"),
    message:
        f"Measure the error over test images of run {cfg.run.name}"
    script:
        "../scripts/measure_image_error.py"


rule theory:
    input:
        paths.jacobian_table,
        files_of("theory"),


rule claims:
    input:
        files_of("claims"),
