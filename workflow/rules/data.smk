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
    params:
        source=lambda w: cfg.reference(w.dataset),
        # whatever fetched a built-in dataset, its bytes are verified
        code=lambda w: (
            code("download_dataset", w.dataset) if is_own(w.dataset) else "verified"
        ),
    message:
        "Fetch and verify {wildcards.dataset}"
    script:
        "../scripts/download_dataset.py"


rule data:
    input:
        expand(paths.dataset, dataset=cfg.datasets),
