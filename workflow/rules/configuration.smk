# The configuration, validated once: this repository's config.yaml, over it what the user gave. Paths of the workflow's own
# files start here, so that it can be run from any folder and imported as a module.
import sys

from snakemake.common.configfile import load_configfile
from snakemake.exceptions import WorkflowError
from snakemake.logging import logger
from snakemake.utils import update_config

HERE = Path(workflow.current_basedir.get_path_or_uri(secret_free=True))
REPOSITORY = HERE.parents[1]
sys.path.insert(0, str(REPOSITORY / "src"))

from jacobian_ensembles.experiment.config import ConfigError, load_config
from jacobian_ensembles.experiment.code_digest import script_digest


def configured(given):
    """This repository's config.yaml, under config.yaml of the folder where Snakemake runs, under what was given."""
    if workflow.config_settings.replace_workflow_config:
        return given
    files = [REPOSITORY / "config.yaml"]
    local = Path("config.yaml")
    # a workflow that imports this one reads its own config.yaml, and hands over what it wants
    if not __name__ and local.is_file() and not local.samefile(files[0]):
        files.append(local.absolute())
        logger.info(f"Configuration: {files[1]}, over {files[0]}")
    merged = {}
    for layer in (*map(load_configfile, files), given):
        update_config(merged, layer)
    return merged


if workflow.is_main_process:
    config = configured(config)
    scripts = (REPOSITORY / "workflow" / "scripts").glob("[!_]*.py")
    digests = {path.stem: script_digest(path) for path in scripts}
else:
    config, digests = handed_over()

try:
    cfg = load_config(config)
except ConfigError as error:
    raise WorkflowError(str(error)) from None

# complete, and with every value of its own type
config = cfg.model_dump(mode="json", by_alias=True)

if workflow.is_main_process:
    hand_over(config, digests)


envvars:
    HANDOVER,
