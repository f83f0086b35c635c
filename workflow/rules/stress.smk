# Is the robustness real? Every attack beside the others, perturbations of one model on the others, images one by one; and
# the flags that they raise.
from jacobian_ensembles.robustness.toolbox import toolbox_version


rule measure_transfer:
    input:
        ensembles=models_of_dataset(paths.ensemble),
        uaps=worst_uaps_of_dataset,
        dataset=dataset_of,
    output:
        record=paths.transfer,
        provenance=paths.provenance(paths.transfer),
    log:
        paths.log(paths.transfer),
    benchmark:
        paths.benchmark(paths.transfer)
    conda:
        "../../environment.yml"
    resources:
        **LONG,
    params:
        seed=cfg.seed,
        data=leaves(cfg.data, "validation_images", "train_images", "test_images"),
        attack=cfg.attack.recipe(),
        seeds=cfg.attack.seeds,
        attacks=lambda w: run_attacks.white_boxes(float(w.eps)),
        architecture=cfg.model.architecture,
        methods=own_methods,
        code=lambda w: code(
            "measure_transfer",
            w.dataset,
            *own_methods,
            cfg.model.architecture,
            cfg.attack.method,
        ),
    message:
        "Measure how perturbations transfer: {wildcards.dataset} eps={wildcards.eps}"
    script:
        "../scripts/measure_transfer.py"


rule attack_images:
    input:
        ensemble=paths.ensemble,
        dataset=dataset_of,
    output:
        record=paths.single,
        provenance=paths.provenance(paths.single),
    log:
        paths.log(paths.single),
    benchmark:
        paths.benchmark(paths.single)
    conda:
        "../../environment.yml"
    resources:
        **LONG,
    params:
        data={
            "validation_images": cfg.data.validation_images,
            "test_images": min(
                cfg.stress.single_images,
                cfg.data.test_images or cfg.stress.single_images,
            ),
        },
        attack={"iterations": cfg.stress.single_iterations, "clip": cfg.attack.clip},
        toolbox=toolbox_version() or "not installed",
        extensions=extensions_of,
        code=lambda w: code(
            "attack_images", w.dataset, w.ensemble, cfg.model.architecture
        ),
    message:
        "Attack images one by one: {wildcards.dataset} {wildcards.ensemble} M={wildcards.members} "
        "lambda={wildcards.lambda_jr} repetition {wildcards.repetition} eps={wildcards.eps}"
    script:
        "../scripts/attack_images.py"


rule aggregate_stress:
    input:
        clean=of_every_model(paths.clean),
        records=[record for _, record in of_every_attack_and_variant()],
        transfers=transfers(),
        singles=singles(),
    output:
        table=paths.stress,
        transfer=paths.transfer_table,
        provenance=paths.provenance(paths.stress),
    log:
        paths.log(paths.stress),
    benchmark:
        paths.benchmark(paths.stress)
    localrule: True
    conda:
        "../../environment.yml"
    resources:
        **GATHER,
    params:
        attacks=lambda w: run_attacks.known,
        names=[name for name, _ in of_every_attack_and_variant()],
        code=code("aggregate_stress"),
    message:
        "Look for signs that robustness is not real"
    script:
        "../scripts/aggregate_stress.py"


rule stress:
    input:
        paths.stress,
        paths.transfer_table,
        files_of("stress"),
        files_of("transfer") if cfg.stress.transfer_eps else [],
        rules.ablation.input if cfg.ablation else [],
