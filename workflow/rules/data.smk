# Datasets: downloaded once, verified, shared by all runs. No `code` here: whatever fetches them, they are the same.


rule download_dataset:
    output:
        dataset=paths.dataset,
        provenance=paths.provenance(paths.dataset),
    log:
        paths.log(paths.dataset),
    benchmark:
        paths.benchmark(paths.dataset)
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=1500,
        runtime=30,
        gpu=0,
    message:
        "Fetch and verify {wildcards.dataset}"
    script:
        "../scripts/download_dataset.py"


rule data:
    input:
        expand(paths.dataset, dataset=cfg.grid.datasets),
