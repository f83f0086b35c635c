# The run as one page: results/<run>/report.html.


def of_every_model(template):
    """A template filled in for the first training of every model of the run."""
    cells = [cell for cell in cfg.cells if cell.repetition == 0]
    return [template.format(**cell_wildcards(c)) for c in cells]


def records_of_the_run():
    """The provenance records of all jobs that the page rests on, in the order of the workflow."""
    blocks = [
        paths.uaps.replace("{first}", str(first)).replace("{last}", str(last))
        for first, last in cfg.attack.seed_blocks()
    ]
    results = [
        *expand(paths.dataset, dataset=cfg.datasets),
        *(path for cell in cfg.cells for path in paths.members(cell)),
        *of_every_cell(paths.ensemble),
        *of_every_cell(paths.clean),
        *of_every_attack(*blocks),
        *of_every_attack(paths.worst),
        *of_every_cell(paths.jacobian),
        paths.metrics,
        *expand(f"{figure}.pdf", figure=FIGURES),
        f"{table1}.tex",
        f"{comparison}.csv",
        f"{claims_table}.csv",
    ]
    return list(dict.fromkeys(map(paths.provenance, results)))


rule write_report:
    input:
        summary=paths.summary,
        comparison=f"{comparison}.csv",
        claims=f"{claims_table}.csv",
        theory=supplement.format(figure="theory", kind="png"),
        figures=expand(f"{figure}.png", figure=FIGURES),
        clean=of_every_model(paths.clean),
        uaps=of_every_model(
            paths.worst_uap.replace("{eps}", number_token(cfg.figures.eps))
        ),
        ensembles=of_every_model(paths.ensemble),
        datasets=ancient(expand(paths.dataset, dataset=cfg.datasets)),
        provenance=records_of_the_run(),
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
