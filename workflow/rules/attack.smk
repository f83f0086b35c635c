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
        certified=of_every_cell(paths.certified) if cfg.metrics.certify else [],
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


rule attack_members:
    input:
        learners=learners_alone_of,
        dataset=dataset_of,
    output:
        record=paths.members_alone,
        provenance=paths.provenance(paths.members_alone),
    log:
        paths.log(paths.members_alone),
    benchmark:
        paths.benchmark(paths.members_alone)
    conda:
        "../../environment.yml"
    resources:
        **LONG,
    params:
        seed=cfg.seed,
        data=leaves(cfg.data, "validation_images", "train_images", "test_images"),
        attack=cfg.attack.recipe(),
        seeds=cfg.attack.members,
        eps=list(cfg.grid.eps),
        extensions=extensions_of,
        code=lambda w: code(
            "attack_members",
            w.dataset,
            w.ensemble,
            cfg.model.architecture,
            cfg.attack.method,
        ),
    message:
        "Attack members one by one: {wildcards.dataset} {wildcards.ensemble} "
        "lambda={wildcards.lambda_jr} repetition {wildcards.repetition}"
    script:
        "../scripts/attack_members.py"


rule gather_members:
    input:
        records=members_alone(),
    output:
        table=paths.members_table,
        provenance=paths.provenance(paths.members_table),
    log:
        paths.log(paths.members_table),
    benchmark:
        paths.benchmark(paths.members_table)
    localrule: True
    conda:
        "../../environment.yml"
    resources:
        **GATHER,
    params:
        code=code("gather_members"),
    message:
        f"Gather the attacked members of run {cfg.run.name}"
    script:
        "../scripts/gather_members.py"
