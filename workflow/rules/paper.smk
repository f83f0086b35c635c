# The paper's figures and table, and their comparison with the paper.

FIGURES = ["figure1_clean_accuracy", "figure2_robustness", "figure3_tradeoff"]
figure = f"{paths.figures}/{{figure}}"
table1 = f"{paths.tables}/table1"
comparison = f"{paths.tables}/comparison"


rule plot_figure:
    input:
        metrics=paths.metrics,
        summary=paths.summary,
    output:
        pdf=f"{figure}.pdf",
        png=report(
            f"{figure}.png",
            caption="../report/figure.rst",
            category="Figures",
            labels={"figure": "{figure}"},
        ),
        provenance=paths.provenance(f"{figure}.pdf"),
    log:
        paths.log(f"{figure}.pdf"),
    benchmark:
        paths.benchmark(f"{figure}.pdf")
    wildcard_constraints:
        figure="|".join(FIGURES),
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=800,
        runtime=10,
        gpu=0,
    params:
        eps=cfg.figures.eps,
        confidence=cfg.metrics.confidence,
        run=cfg.run.name,
        banner=cfg.run.banner,
        code=code("plot_figure"),
    message:
        "Draw {wildcards.figure}"
    script:
        "../scripts/plot_figure.py"


rule write_table:
    input:
        summary=paths.summary,
    output:
        latex=f"{table1}.tex",
        csv=report(
            f"{table1}.csv",
            caption="../report/table1.rst",
            category="Tables",
            labels={"table": "Table 1"},
        ),
        markdown=f"{table1}.md",
        provenance=paths.provenance(f"{table1}.tex"),
    log:
        paths.log(f"{table1}.tex"),
    benchmark:
        paths.benchmark(f"{table1}.tex")
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=500,
        runtime=10,
        gpu=0,
    params:
        run=cfg.run.name,
        banner=cfg.run.banner,
        code=code("write_table"),
    message:
        "Write Table 1"
    script:
        "../scripts/write_table.py"


rule compare_with_paper:
    input:
        summary=paths.summary,
    output:
        csv=report(
            f"{comparison}.csv",
            caption="../report/comparison.rst",
            category="Tables",
            labels={"table": "Comparison with the paper"},
        ),
        markdown=f"{comparison}.md",
        provenance=paths.provenance(f"{comparison}.csv"),
    log:
        paths.log(f"{comparison}.csv"),
    benchmark:
        paths.benchmark(f"{comparison}.csv")
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=500,
        runtime=10,
        gpu=0,
    params:
        run=cfg.run.name,
        banner=cfg.run.banner,
        code=code("compare_with_paper"),
    message:
        "Compare with the paper's Table 1"
    script:
        "../scripts/compare_with_paper.py"


rule figures:
    input:
        expand(f"{figure}.{{kind}}", figure=FIGURES, kind=["pdf", "png"]),


rule tables:
    input:
        expand(f"{table1}.{{kind}}", kind=["tex", "csv", "md"]),
        expand(f"{comparison}.{{kind}}", kind=["csv", "md"]),
