# Datasets: obtained once, shared by all runs. A built-in one has no `code`: whatever fetches it, its bytes are verified.
from jacobian_ensembles.data.cards import CARDS


rule download_dataset:
    output:
        dataset=paths.dataset,
        provenance=paths.provenance(paths.dataset),
    log:
        paths.log(paths.dataset),
    benchmark:
        paths.benchmark(paths.dataset)
    wildcard_constraints:
        dataset="|".join(CARDS),
    localrule: True
    conda:
        "../../environment.yml"
    resources:
        mem_mb=1500,
        runtime=30,
        gpu=0,
    message:
        "Fetch and verify {wildcards.dataset}"
    script:
        "../scripts/download_dataset.py"


rule import_dataset:
    output:
        dataset=paths.dataset,
        provenance=paths.provenance(paths.dataset),
    log:
        paths.log(paths.dataset),
    benchmark:
        paths.benchmark(paths.dataset)
    wildcard_constraints:
        dataset="|".join(filter(is_own, cfg.datasets)) or "none",
    localrule: True
    conda:
        "../../environment.yml"
    resources:
        mem_mb=4000,
        runtime=60,
        gpu=0,
    params:
        source=lambda w: cfg.reference(w.dataset),
        code=lambda w: code("import_dataset", w.dataset),
    message:
        "Import {wildcards.dataset}"
    script:
        "../scripts/import_dataset.py"


rule data:
    input:
        expand(paths.dataset, dataset=cfg.datasets),
