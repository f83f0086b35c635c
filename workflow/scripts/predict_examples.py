"""Classify the page's example images, clean and perturbed."""

import _job

with _job.running(snakemake) as device:
    from jacobian_ensembles.stages.predict_examples import predict_examples

    predict_examples(
        snakemake.input.ensembles,
        snakemake.input.uaps,
        snakemake.input.datasets,
        snakemake.input.summary,
        snakemake.output.examples,
        clip=snakemake.params.clip,
        architecture=snakemake.params.architecture,
        methods=snakemake.params.methods,
        device=device,
    )
