# How results depend on the attack's variant, on the number of attack seeds and on the training.

ablation_table = f"{paths.tables}/ablation"
spread_table = f"{paths.tables}/spread"
supplement = f"{paths.figures}/{{figure}}.{{kind}}"
supplement_tables = {
    "theory": paths.jacobian_table,
    "ablation": f"{ablation_table}.csv",
    "budget": f"{ablation_table}.csv",
    "worst_of_k": paths.worst_of_k,
}


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
        attack=lambda w: leaves(cfg.ablation[w.variant], *ATTACK_LEAVES),
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
        records=of_every_attack(
            *(paths.variant_worst.replace("{variant}", v) for v in cfg.ablation)
        ),
    output:
        csv=f"{ablation_table}.csv",
        markdown=f"{ablation_table}.md",
        provenance=paths.provenance(f"{ablation_table}.csv"),
    log:
        paths.log(f"{ablation_table}.csv"),
    benchmark:
        paths.benchmark(f"{ablation_table}.csv")
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=500,
        runtime=10,
        gpu=0,
    params:
        variants=list(cfg.ablation),
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
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=500,
        runtime=10,
        gpu=0,
    params:
        confidence=cfg.metrics.confidence,
        code=code("tabulate_worst_of_k"),
    message:
        "Tabulate the expected worst of K attack seeds"
    script:
        "../scripts/tabulate_worst_of_k.py"


rule tabulate_spread:
    input:
        metrics=paths.metrics,
    output:
        csv=f"{spread_table}.csv",
        markdown=f"{spread_table}.md",
        provenance=paths.provenance(f"{spread_table}.csv"),
    log:
        paths.log(f"{spread_table}.csv"),
    benchmark:
        paths.benchmark(f"{spread_table}.csv")
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=500,
        runtime=10,
        gpu=0,
    params:
        clean_weight=cfg.metrics.clean_weight,
        confidence=cfg.metrics.confidence,
        run=cfg.run.name,
        banner=cfg.run.banner,
        code=code("tabulate_spread"),
    message:
        "Tabulate the spread over trainings and attack seeds"
    script:
        "../scripts/tabulate_spread.py"


rule plot_supplement:
    input:
        table=lambda w: supplement_tables[w.figure],
    output:
        pdf=f"{paths.figures}/{{figure}}.pdf",
        png=report(
            f"{paths.figures}/{{figure}}.png",
            caption="../report/supplement.rst",
            category="Supplement",
            labels={"figure": "{figure}"},
        ),
        provenance=paths.provenance(f"{paths.figures}/{{figure}}.pdf"),
    log:
        paths.log(f"{paths.figures}/{{figure}}.pdf"),
    benchmark:
        paths.benchmark(f"{paths.figures}/{{figure}}.pdf")
    wildcard_constraints:
        figure="|".join(supplement_tables),
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=800,
        runtime=10,
        gpu=0,
    params:
        run=cfg.run.name,
        banner=cfg.run.banner,
        code=code("plot_supplement"),
    message:
        "Draw supplementary figure {wildcards.figure}"
    script:
        "../scripts/plot_supplement.py"


rule ablation:
    input:
        expand(f"{ablation_table}.{{kind}}", kind=["csv", "md"]),
        expand(supplement, figure=["ablation", "budget"], kind=["pdf", "png"]),


rule spread:
    input:
        expand(f"{spread_table}.{{kind}}", kind=["csv", "md"]),


rule worst_of_k:
    input:
        paths.worst_of_k,
        expand(supplement, figure="worst_of_k", kind=["pdf", "png"]),
