# Shipped results: results/reference/<run>, small enough for the repository, and redrawn without training anything.

shipped = f"{cfg.run.results}/reference"
rebuilt = f"{cfg.run.results}/rebuilt"


rule ship_run:
    input:
        results=results_to_ship(),
    output:
        folder=directory(f"{shipped}/{cfg.run.name}"),
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
        config=cfg.model_dump(
            mode="json", by_alias=True, exclude={"compute", "compare"}
        ),
        code=code("ship_run"),
    message:
        f"Ship run {cfg.run.name}"
    script:
        "../scripts/ship_run.py"


rule rebuild_run:
    input:
        config=f"{shipped}/{{reference}}/config.yaml",
    output:
        folder=directory(f"{rebuilt}/{{reference}}"),
        provenance=f"{rebuilt}/{{reference}}.provenance.json",
    log:
        f"{rebuilt}/logs/{{reference}}.log",
    benchmark:
        f"{rebuilt}/benchmarks/{{reference}}.tsv"
    localrule: True
    conda:
        "../../environment.yml"
    resources:
        **GATHER,
    params:
        code=code("rebuild_run"),
    message:
        "Redraw the shipped run {wildcards.reference}"
    script:
        "../scripts/rebuild_run.py"


rule ship:
    input:
        rules.ship_run.output.folder,


rule reference_figures:
    input:
        expand(
            f"{rebuilt}/{{reference}}",
            reference=sorted(
                p.parent.name for p in Path(shipped).glob("*/config.yaml")
            ),
        ),
