# What jobs ask for, by kind, and how many GPU jobs run at a time.
import os
from functools import cache
from math import prod

from jacobian_ensembles.runs.devices import visible_gpus, wants_gpu
from jacobian_ensembles.storage.files import ArtifactError, stored_shape

# Without GPUs no job has this resource, not even a zero: Kubernetes' executor takes every value for a request.
gpu = {"gpu": 1} if wants_gpu(cfg.compute.device) else {}


def megabytes(files):
    """The size of a job's inputs. Snakemake's own size_mb is a quarter of the planning of a large run."""
    if any(file.is_storage for file in files):
        return files.size_mb
    return sum(map(os.path.getsize, files)) / 1024**2


@cache
def values_of_an_image(path):
    """Pixels times channels of the images in a dataset's file; of a damaged one none, which the job says."""
    try:
        return prod(stored_shape(path, "train_images")[1:])
    except ArtifactError:
        return 0


BATCH = max(cfg.training.batch_size, cfg.attack.batch_size)


def with_images(least):
    """The memory of a job that holds a dataset: its images as stored, and as float32 with a copy or two; and a batch on
    its way through a network of 20 values per value of an image. Measured on 52, 199 and 492 MB (docs/performance.md);
    more at each further try.
    """

    def mem_mb(wildcards, input, attempt):
        dataset = getattr(input, "dataset", None)
        needed = 700 + 6 * megabytes(input)
        if dataset is not None and not dataset.is_storage:
            needed += BATCH * 20 * 4 * values_of_an_image(str(dataset)) / 1024**2
        return attempt * max(least, round(needed))

    return mem_mb


# memory in MB and runtime in minutes, for one job on one core
ASSEMBLE = {"mem_mb": 300, "runtime": 5}  # copies, or counts bits
GATHER = {"mem_mb": 800, "runtime": 10}  # tables and figures
IMPORT = {
    "mem_mb": with_images(4000),
    "runtime": 60,
}  # whatever a user's function takes
# a few passes over images; one learner; a training of many epochs, or a block of perturbations
EVALUATE = {"mem_mb": with_images(1500), "runtime": 10, **gpu}
TRAIN = {"mem_mb": with_images(2000), "runtime": 120, **gpu}
LONG = {"mem_mb": with_images(2000), "runtime": 240, **gpu}


# counted per submission to a cluster, not over the whole cluster
resource_scopes:
    gpu="local",


# as many GPU jobs as there are slots, unless the user or a profile says how many
if workflow.is_main_process and gpu and "gpu" not in workflow.global_resources:
    slots = max(1, len(visible_gpus())) * cfg.compute.gpu_slots
    workflow.register_resource("gpu", slots)
