"""Run a user's function that returns a dataset, check what it returns and store it as one file."""

import _job

with _job.running(snakemake):
    from jacobian_ensembles.stages.download_dataset import download_dataset

    settings = snakemake.config
    download_dataset(
        snakemake.params.source,
        snakemake.output.dataset,
        settings["data"]["local_dir"],
        settings["model"]["architecture"],  # changes no dataset, so it is no parameter
    )
