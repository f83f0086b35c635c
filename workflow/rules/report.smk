# The run as one page: results/<run>/report.html.


extra_figures = ["worst_of_k", *(["ablation", "budget"] if cfg.ablation else [])]


rule write_report:
    input:
        summary=paths.summary,
        comparison=f"{comparison}.csv",
        claims=f"{claims_table}.csv",
        theory=supplement.format(figure="theory", kind="png"),
        figures=[
            *expand(f"{figure}.png", figure=FIGURES),
            *expand(supplement, figure=extra_figures, kind="png"),
        ],
        clean=of_every_model(paths.clean),
        uaps=of_every_model(
            paths.worst_uap.replace("{eps}", number_token(cfg.figures.eps))
        ),
        ensembles=of_every_model(paths.ensemble),
        datasets=ancient(expand(paths.dataset, dataset=cfg.datasets)),
        provenance=ancient(records_of_the_run()),  # their times alone make no new page
    output:
        page=report(
            paths.report,
            caption="../report/page.rst",
            category="Report",
            labels={"page": "The run as one page"},
        ),
        provenance=paths.provenance(paths.report),
    log:
        paths.log(paths.report),
    benchmark:
        paths.benchmark(paths.report)
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=3000,
        runtime=15,
        gpu=0,
    params:
        run=cfg.run.name,
        banner=cfg.run.banner,
        eps=cfg.figures.eps,
        clean_weight=cfg.metrics.clean_weight,
        architecture=cfg.model.architecture,
        methods={
            name: cfg.reference(name)
            for name in dict.fromkeys(cell.ensemble for cell in cfg.cells)
            if is_own(name)
        },
        code=code("write_report"),
    message:
        "Write the report of run {cfg.run.name}"
    script:
        "../scripts/write_report.py"
