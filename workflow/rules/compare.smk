# This run beside others: finished ones, or shipped ones.


rule compare_runs:
    input:
        run=paths.config,
        made=ancient(paths.made),
        tables=[
            paths.records,
            paths.metrics,
            *([paths.ablation] if cfg.ablation else []),
        ],
        others=[f"{folder}/metrics/records.csv" for folder in cfg.compare],
    output:
        page=f"{paths.comparison}/comparison.html",
        png=f"{paths.comparison}/tradeoff.png",
        pdf=f"{paths.comparison}/tradeoff.pdf",
        markdown=f"{paths.comparison}/best.md",
        csv=f"{paths.comparison}/best.csv",
        models=f"{paths.comparison}/models.csv",
        provenance=paths.provenance(f"{paths.comparison}/comparison.html"),
    log:
        paths.log(f"{paths.comparison}/comparison.html"),
    benchmark:
        paths.benchmark(f"{paths.comparison}/comparison.html")
    localrule: True
    conda:
        "../../environment.yml"
    resources:
        **GATHER,
    params:
        settings=leaves(cfg.metrics, "clean_weight", "confidence"),
        code=code("compare_runs"),
    message:
        f"Set run {cfg.run.name} beside {', '.join(cfg.compare) or 'no other'}"
    script:
        "../scripts/compare_runs.py"


rule compare:
    input:
        rules.compare_runs.output,
