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


rule aggregate_ablation:
    input:
        metrics=paths.metrics,
        records=[record for _, record in of_every_variant()],
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
        variants=[variant for variant, _ in of_every_variant()],
        peers=run_attacks.comparable,
        code=code("aggregate_ablation"),
    message:
        "Compare the attack variants"
    script:
        "../scripts/aggregate_ablation.py"


rule tabulate_worst_of_k:
    input:
        records=of_every_attack(paths.worst),
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
