# Datasets. A built-in one is obtained once and shared by all runs; it has no `code`: whatever fetches it, its bytes are
# verified. A user's belongs to the run, and is imported anew when its code, its folder or what is in it changes.
from jacobian_ensembles.data.arrays import DataError
from jacobian_ensembles.data.cards import CARDS
from jacobian_ensembles.stages.checking import check_source

# before there are jobs
for reference, dataset in zip(cfg.grid.datasets, cfg.datasets):
    if workflow.is_main_process:
        try:
            check_source(
                reference,
                cfg.data.local_dir,
                cfg.model.architecture,
                Path(file_of(dataset)),
            )
        except (DataError, ValueError) as error:
            raise WorkflowError(str(error)) from None


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
    message:
        "Fetch and verify {wildcards.dataset}"
    script:
        "../scripts/download_dataset.py"


rule import_dataset:
    output:
        dataset=paths.own_dataset,
        provenance=paths.provenance(paths.own_dataset),
    log:
        paths.log(paths.own_dataset),
    benchmark:
        paths.benchmark(paths.own_dataset)
    wildcard_constraints:
        dataset="|".join(filter(is_own, cfg.datasets)) or "none",
    localrule: True
    conda:
        "../../environment.yml"
    resources:
        **IMPORT,
    params:
        source=lambda w: cfg.reference(w.dataset),
        local_dir=cfg.data.local_dir,
        content=lambda w: content_digest(cfg.reference(w.dataset), cfg.data.local_dir),
        code=lambda w: code("import_dataset", w.dataset),
    message:
        "Import {wildcards.dataset}"
    script:
        "../scripts/import_dataset.py"


rule data:
    input:
        list(map(file_of, cfg.datasets)),
