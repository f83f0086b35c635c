# The configuration, validated once: this repository's config.yaml under what the user gave. Paths of the workflow's own
# files start here, so that it can be run from any folder and imported as a module.
import sys

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger

HERE = Path(workflow.current_basedir)
REPOSITORY = HERE.parents[1]
sys.path.insert(0, str(REPOSITORY / "src"))

try:
    from jacobian_ensembles.extensions.code_digest import project_digests
    from jacobian_ensembles.config.schema import load_config
    from jacobian_ensembles.runs.provenance import commit
    from jacobian_ensembles.config.reading import (
        Layer,
        beyond,
        file_layer,
        load_layers,
        spoken,
    )
except ModuleNotFoundError as error:
    raise WorkflowError(
        f"This workflow's package needs '{error.name}' where Snakemake itself runs. Install what environment.yml lists: "
        f"pip install '{REPOSITORY}[workflow]', or conda env create --file {REPOSITORY}/environment.yml."
    ) from None


def layers(given):
    """What configures this run, later ones over earlier ones: this repository's config.yaml, that of the folder where
    Snakemake runs, --configfile, --config, and what a Snakefile around this one says.
    """
    settings, found, local = workflow.config_settings, [], Path("config.yaml")
    if not settings.replace_workflow_config:
        found.append(file_layer(REPOSITORY / "config.yaml", defaults=True))
        # a workflow that imports this one reads its own config.yaml, and hands over what it wants
        if not imported_as and local.is_file():
            if not local.samefile(REPOSITORY / "config.yaml"):
                found.append(file_layer(local.absolute(), READ_ANYWAY))
                logger.info(f"Configuration: {found[1].origin}, over {found[0].origin}")
    if not imported_as:
        found += map(file_layer, workflow.overwrite_configfiles)
        found.append(Layer("--config", spoken(settings.config)))
    return [*found, Layer("the Snakefile around this workflow", beyond(found, given))]


READ_ANYWAY = (
    "read because it is in the folder where Snakemake runs; to do without it, rename it, or name another folder with "
    "--directory."
)

try:
    if workflow.is_main_process:
        cfg = load_layers(layers(config))
        sources, digests = project_digests(
            REPOSITORY / "workflow" / "scripts",
            Path(".snakemake/jacobian-ensembles/digests.json"),
        )
        started = {"sources": sources, "commit": commit()}
    else:
        given, digests, started = handed_over()
        cfg = load_config(given)
except ValueError as error:
    raise WorkflowError(str(error)) from None

# complete, and with every value of the right type
config = cfg.model_dump(mode="json", by_alias=True)

if workflow.is_main_process:
    hand_over(config, digests, started)

config["started"] = started  # for the jobs


envvars:
    HANDOVER,
