# The run as one page: results/<run>/report.html.


worst_at_figure2 = paths.worst_uap.replace("{eps}", number_token(cfg.figures.eps))
# the figures of the page, in the catalogue's order
shown = [item.name for item in figures_of_runs if in_this_run(item)]


rule predict_examples:
    input:
        summary=paths.summary,
        uaps=of_every_model(worst_at_figure2),
        ensembles=of_every_model(paths.ensemble),
        datasets=ancient(list(map(file_of, cfg.datasets))),
    output:
        examples=paths.examples,
        provenance=paths.provenance(paths.examples),
    log:
        paths.log(paths.examples),
    benchmark:
        paths.benchmark(paths.examples)
    conda:
        "../../environment.yml"
    resources:
        **EVALUATE,
    params:
        clip=cfg.attack.clip,
        architecture=cfg.model.architecture,
        methods=own_methods,
        code=code("predict_examples", *own_methods, cfg.model.architecture),
    message:
        f"Classify the example images of run {cfg.run.name}"
    script:
        "../scripts/predict_examples.py"


rule write_report:
    input:
        run=paths.config,
        made=ancient(paths.made),
        metrics=paths.metrics,
        summary=paths.summary,
        comparison=f"{paths.tables}/comparison.csv",
        claims=paths.sources["claims"],
        effects=paths.sources["effects"],
        figures=expand(f"{paths.figures}/{{figure}}.png", figure=shown),
        captions=expand(f"{paths.figures}/{{figure}}.txt", figure=shown),
        clean=of_every_model(paths.clean),
        uaps=of_every_model(worst_at_figure2),
        examples=paths.examples,
        stress=paths.stress if cfg.stress.asked else [],
        datasets=ancient(list(map(file_of, cfg.datasets))),
        provenance=ancient([*records_of_the_run(), paths.provenance(paths.examples)]),
        # newer timestamps alone make no new page
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
    localrule: True
    conda:
        "../../environment.yml"
    resources:
        mem_mb=3000,
        runtime=15,
    params:
        captions=[item_named(name).caption for name in shown],
        code=code("write_report"),
    message:
        f"Write the report of run {cfg.run.name}"
    script:
        "../scripts/write_report.py"
