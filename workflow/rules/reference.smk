# Shipped runs: results/reference/<run>, the kept part of a finished run with its checksums; drawn anew without training.


rule ship_run:
    input:
        run=rules.describe_run.output.config,
        made=rules.describe_run.output.made,
        results=[*tables_of_the_run(), *drawn(), *kept_beside_tables()],
        page=[] if cfg.trials else paths.report,
    output:
        # replaced as a whole, and only by a whole one: Snakemake deletes other outputs before it starts a job
        checksums=update(f"{shipped}/{cfg.run.name}/SHA256SUMS"),
        provenance=f"{paths.root}/ship_run.provenance.json",
    log:
        f"{paths.root}/logs/ship_run.log",
    benchmark:
        f"{paths.root}/benchmarks/ship_run.tsv"
    localrule: True
    conda:
        "../../environment.yml"
    resources:
        **GATHER,
    params:
        code=code("ship_run"),
    message:
        f"Ship run {cfg.run.name}"
    script:
        "../scripts/ship_run.py"


use rule plot_figure as redraw_figure with:
    input:
        unpack(lambda w: tables_of_shipped(w.reference, w.figure)),
    output:
        pdf=f"{rebuilt}/{{reference}}/figures/{{figure}}.pdf",
        png=f"{rebuilt}/{{reference}}/figures/{{figure}}.png",
        caption=f"{rebuilt}/{{reference}}/figures/{{figure}}.txt",
        provenance=f"{rebuilt}/{{reference}}/figures/{{figure}}.provenance.json",
    log:
        f"{rebuilt}/{{reference}}/logs/{{figure}}.log",
    benchmark:
        f"{rebuilt}/{{reference}}/benchmarks/{{figure}}.tsv"
    localrule: True
    params:
        settings=lambda w: settings_of_shipped(w.reference, w.figure),
        run=lambda w: shipped_run(w.reference).name,
        banner=lambda w: shipped_run(w.reference).banner,
        code=lambda w: code("plot_figure", catalogue.find(w.figure).function),
    message:
        "Draw {wildcards.figure} of the shipped run {wildcards.reference}"


use rule write_table as redraw_table with:
    input:
        unpack(lambda w: tables_of_shipped(w.reference, w.table)),
    output:
        csv=f"{rebuilt}/{{reference}}/tables/{{table}}.csv",
        markdown=f"{rebuilt}/{{reference}}/tables/{{table}}.md",
        provenance=f"{rebuilt}/{{reference}}/tables/{{table}}.provenance.json",
    log:
        f"{rebuilt}/{{reference}}/logs/{{table}}.log",
    benchmark:
        f"{rebuilt}/{{reference}}/benchmarks/{{table}}.tsv"
    localrule: True
    params:
        settings=lambda w: settings_of_shipped(w.reference, w.table),
        run=lambda w: shipped_run(w.reference).name,
        banner=lambda w: shipped_run(w.reference).banner,
        code=lambda w: code("write_table", catalogue.find(w.table).function),
    message:
        "Write table {wildcards.table} of the shipped run {wildcards.reference}"


use rule redraw_table as redraw_latex_table with:
    output:
        csv=f"{rebuilt}/{{reference}}/tables/{{table}}.csv",
        markdown=f"{rebuilt}/{{reference}}/tables/{{table}}.md",
        latex=f"{rebuilt}/{{reference}}/tables/{{table}}.tex",
        provenance=f"{rebuilt}/{{reference}}/tables/{{table}}.provenance.json",
    wildcard_constraints:
        table="|".join(item.name for item in catalogue.TABLES if item.latex),
    localrule: True


rule ship:
    input:
        rules.ship_run.output,


rule reference_figures:
    input:
        lambda w: [
            path
            for place in sorted(Path(shipped).glob("*/config.yaml"))
            for path in redrawn(place.parent.name)
        ],
