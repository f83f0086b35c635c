# How results depend on the attack's variant, on the number of attack seeds and on the training.


use rule craft_uaps as craft_variant with:
    output:
        uaps=paths.variant_uaps,
        provenance=paths.provenance(paths.variant_uaps),
    log:
        paths.log(paths.variant_uaps),
    benchmark:
        paths.benchmark(paths.variant_uaps)
    params:
        seed=cfg.seed,
        data=leaves(cfg.data, "validation_images", "train_images", "test_images"),
        attack=lambda w: cfg.ablation[w.variant].recipe(),
        extensions=extensions_of,
        code=lambda w: code(
            "craft_uaps",
            w.dataset,
            w.ensemble,
            cfg.model.architecture,
            cfg.ablation[w.variant].method,
        ),
    message:
        "Craft UAPs {wildcards.first}-{wildcards.last} by {wildcards.variant}: {wildcards.dataset} "
        "{wildcards.ensemble} M={wildcards.members} lambda={wildcards.lambda_jr} "
        "repetition {wildcards.repetition} eps={wildcards.eps}"


use rule select_worst_uap as select_variant with:
    input:
        uaps=variant_blocks_of,
    output:
        record=paths.variant_worst,
        uap=paths.variant_worst_uap,
        provenance=paths.provenance(paths.variant_worst),
    log:
        paths.log(paths.variant_worst),
    benchmark:
        paths.benchmark(paths.variant_worst)
    message:
        "Select the worst UAP by {wildcards.variant}: {wildcards.dataset} {wildcards.ensemble} "
        "M={wildcards.members} lambda={wildcards.lambda_jr} repetition {wildcards.repetition} eps={wildcards.eps}"


use rule gather_records as gather_variant with:
    input:
        clean=of_every_cell(paths.clean),
        worst=lambda w: worst_of_variant(w.variant),
    output:
        records=paths.variant_records,
        provenance=paths.provenance(paths.variant_records),
    log:
        paths.log(paths.variant_records),
    benchmark:
        paths.benchmark(paths.variant_records)
    localrule: True
    message:
        "Gather the records of {wildcards.variant}"


rule aggregate_ablation:
    input:
        records=expand(paths.variant_records, variant=cfg.ablation),
    output:
        table=paths.ablation,
        provenance=paths.provenance(paths.ablation),
    log:
        paths.log(paths.ablation),
    benchmark:
        paths.benchmark(paths.ablation)
    localrule: True
    conda:
        "../../environment.yml"
    resources:
        **GATHER,
    params:
        variants=[*cfg.ablation],
        confidence=cfg.metrics.confidence,
        peers=run_attacks.comparable,
        code=code("aggregate_ablation"),
    message:
        "Compare the attack variants"
    script:
        "../scripts/aggregate_ablation.py"


rule tabulate_worst_of_k:
    input:
        records=paths.records,
    output:
        table=paths.worst_of_k,
        provenance=paths.provenance(paths.worst_of_k),
    log:
        paths.log(paths.worst_of_k),
    benchmark:
        paths.benchmark(paths.worst_of_k)
    localrule: True
    conda:
        "../../environment.yml"
    resources:
        **GATHER,
    params:
        confidence=cfg.metrics.confidence,
        code=code("tabulate_worst_of_k"),
    message:
        "Tabulate the expected worst of K attack seeds"
    script:
        "../scripts/tabulate_worst_of_k.py"


rule ablation:
    input:
        paths.ablation,
        files_of("ablation"),


rule spread:
    input:
        files_of("spread"),


rule worst_of_k:
    input:
        paths.worst_of_k,
        files_of("worst_of_k"),
