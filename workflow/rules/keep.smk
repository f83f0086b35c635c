# What a finished run keeps beside its tables and figures: its settings, what made it, and what run.keep names.


rule describe_run:
    input:
        # when a dataset that all runs share was fetched, or fetched again, tells nothing of this run
        provenance=[
            ancient(path) if path.startswith(f"{cfg.run.results}/data/") else path
            for path in records_of_the_run()
        ],
    output:
        config=paths.config,
        made=paths.made,
        provenance=f"{paths.root}/describe_run.provenance.json",
    log:
        f"{paths.root}/logs/describe_run.log",
    benchmark:
        f"{paths.root}/benchmarks/describe_run.tsv"
    localrule: True
    conda:
        "../../environment.yml"
    resources:
        **GATHER,
    params:
        config=cfg.model_dump(
            mode="json",
            by_alias=True,
            exclude={
                "compute": True,
                "compare": True,
                "run": {"results"},
                "data": {"local_dir"},
            },
        ),
        code=code("describe_run"),
    message:
        f"Describe run {cfg.run.name}: its settings, and what made it"
    script:
        "../scripts/describe_run.py"


rule keep_arrays:
    input:
        clean=clean_of_dataset,
        uaps=uaps_of_dataset,
    output:
        arrays=paths.arrays,
        provenance=paths.provenance(paths.arrays),
    log:
        paths.log(paths.arrays),
    benchmark:
        paths.benchmark(paths.arrays)
    localrule: True
    conda:
        "../../environment.yml"
    resources:
        **GATHER,
    params:
        code=code("keep_arrays"),
    message:
        "Keep the {wildcards.what} of {wildcards.dataset}"
    script:
        "../scripts/keep_arrays.py"


rule keep_model:
    input:
        ensemble=paths.ensemble,
    output:
        model=paths.model,
        provenance=paths.provenance(paths.model),
    log:
        paths.log(paths.model),
    benchmark:
        paths.benchmark(paths.model)
    localrule: True
    conda:
        "../../environment.yml"
    resources:
        **ASSEMBLE,
    params:
        code=code("keep_model"),
    message:
        "Keep {wildcards.dataset} {wildcards.ensemble} M={wildcards.members} "
        "lambda={wildcards.lambda_jr} repetition {wildcards.repetition}"
    script:
        "../scripts/keep_model.py"
