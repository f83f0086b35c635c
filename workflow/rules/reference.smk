# Shipped runs: results/reference/<run>, the kept part of a finished run with its checksums; drawn anew without training.
from jacobian_ensembles.runs.run import Run

shipped = f"{cfg.run.results}/reference"
rebuilt = f"{cfg.run.results}/rebuilt"


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


@cache
def shipped_run(name):
    """A shipped run; its settings need none of the files of whoever made it."""
    return Run.open(f"{shipped}/{name}")


def tables_of_shipped(reference, item):
    """The tables that a figure or table of a shipped run is drawn from, by name."""
    found = catalogue.find(item)
    optional = filter(shipped_run(reference).has_source, found.optional)
    return {
        name: Layout(
            rebuilt if name in catalogue.WRITTEN else shipped, reference
        ).sources[name]
        for name in (*found.inputs, *optional)
    }


def settings_of_shipped(reference, item):
    """What a figure or table of a shipped run is drawn with."""
    known = shipped_run(reference).settings
    return {name: known[name] for name in catalogue.find(item).settings}


def redrawn(reference):
    """The figures and tables that a shipped run can be drawn anew from its tables."""
    return [
        f"{rebuilt}/{reference}/{'figures' if item in catalogue.FIGURES else 'tables'}/{item.name}.{kind}"
        for item in shipped_run(reference).items
        for kind in item.kinds
    ]


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
