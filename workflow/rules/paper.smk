# Figures and tables: every one of the catalogue (jacobian_ensembles/paper/catalogue.py), by two rules.


rule plot_figure:
    input:
        unpack(lambda w: sources_of(w.figure)),
    output:
        pdf=f"{paths.figures}/{{figure}}.pdf",
        png=report(
            f"{paths.figures}/{{figure}}.png",
            caption="../report/figure.rst",
            category="Figures",
            labels={"figure": "{figure}"},
        ),
        caption=f"{paths.figures}/{{figure}}.txt",
        provenance=paths.provenance(f"{paths.figures}/{{figure}}.pdf"),
    log:
        paths.log(f"{paths.figures}/{{figure}}.pdf"),
    benchmark:
        paths.benchmark(f"{paths.figures}/{{figure}}.pdf")
    wildcard_constraints:
        figure="|".join(item.name for item in figures_of_runs),
    localrule: True
    conda:
        "../../environment.yml"
    resources:
        **GATHER,
    params:
        settings=lambda w: settings_for(w.figure),
        caption=lambda w: caption_of(w.figure),
        run=cfg.run.name,
        banner=cfg.banner,
        own=lambda w: w.figure in own_figures and item_named(w.figure).function or "",
        code=lambda w: code("plot_figure", item_named(w.figure).function),
    message:
        "Draw {wildcards.figure}"
    script:
        "../scripts/plot_figure.py"


rule write_table:
    input:
        unpack(lambda w: sources_of(w.table)),
    output:
        csv=report(
            f"{paths.tables}/{{table}}.csv",
            caption="../report/table.rst",
            category="Tables",
            labels={"table": "{table}"},
        ),
        markdown=f"{paths.tables}/{{table}}.md",
        provenance=paths.provenance(f"{paths.tables}/{{table}}.csv"),
    log:
        paths.log(f"{paths.tables}/{{table}}.csv"),
    benchmark:
        paths.benchmark(f"{paths.tables}/{{table}}.csv")
    wildcard_constraints:
        table="|".join(item.name for item in catalogue.TABLES if not item.latex),
    localrule: True
    conda:
        "../../environment.yml"
    resources:
        **GATHER,
    params:
        settings=lambda w: settings_for(w.table),
        caption=lambda w: caption_of(w.table),
        run=cfg.run.name,
        banner=cfg.banner,
        code=lambda w: code("write_table", catalogue.find(w.table).function),
    message:
        "Write table {wildcards.table}"
    script:
        "../scripts/write_table.py"


use rule write_table as write_latex_table with:
    output:
        csv=report(
            f"{paths.tables}/{{table}}.csv",
            caption="../report/table.rst",
            category="Tables",
            labels={"table": "{table}"},
        ),
        markdown=f"{paths.tables}/{{table}}.md",
        latex=f"{paths.tables}/{{table}}.tex",
        provenance=paths.provenance(f"{paths.tables}/{{table}}.csv"),
    wildcard_constraints:
        table="|".join(item.name for item in catalogue.TABLES if item.latex),
    localrule: True


rule figures:
    input:
        files_of("figures"),


rule tables:
    input:
        files_of("tables"),
