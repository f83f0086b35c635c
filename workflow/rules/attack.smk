# Universal perturbations of every ensemble and eps, and the worst of each.


rule craft_uaps:
    input:
        ensemble=paths.ensemble,
        dataset=dataset_of,
    output:
        uaps=paths.uaps,
        provenance=paths.provenance(paths.uaps),
    log:
        paths.log(paths.uaps),
    benchmark:
        paths.benchmark(paths.uaps)
    conda:
        "../../environment.yml"
    resources:
        **LONG,
    params:
        seed=cfg.seed,
        data=leaves(cfg.data, "validation_images", "train_images", "test_images"),
        attack=cfg.attack.recipe(),
        extensions=extensions_of,
        code=lambda w: code(
            "craft_uaps",
            w.dataset,
            w.ensemble,
            cfg.model.architecture,
            cfg.attack.method,
        ),
    message:
        "Craft UAPs {wildcards.first}-{wildcards.last}: {wildcards.dataset} {wildcards.ensemble} "
        "M={wildcards.members} lambda={wildcards.lambda_jr} repetition {wildcards.repetition} eps={wildcards.eps}"
    script:
        "../scripts/craft_uaps.py"


rule select_worst_uap:
    input:
        uaps=blocks_of,
    output:
        record=paths.worst,
        uap=paths.worst_uap,
        provenance=paths.provenance(paths.worst),
    log:
        paths.log(paths.worst),
    benchmark:
        paths.benchmark(paths.worst)
    conda:
        "../../environment.yml"
    resources:
        **ASSEMBLE,
    params:
        code=code("select_worst_uap"),
    message:
        "Select the worst UAP: {wildcards.dataset} {wildcards.ensemble} "
        "M={wildcards.members} lambda={wildcards.lambda_jr} repetition {wildcards.repetition} eps={wildcards.eps}"
    script:
        "../scripts/select_worst_uap.py"


rule gather_records:
    input:
        clean=of_every_cell(paths.clean),
        worst=of_every_attack(paths.worst),
    output:
        records=paths.records,
        provenance=paths.provenance(paths.records),
    log:
        paths.log(paths.records),
    benchmark:
        paths.benchmark(paths.records)
    localrule: True
    conda:
        "../../environment.yml"
    resources:
        **GATHER,
    params:
        code=code("gather_records"),
    message:
        f"Gather the records of the attack of run {cfg.run.name}"
    script:
        "../scripts/gather_records.py"
