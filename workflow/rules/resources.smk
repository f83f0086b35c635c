# What jobs ask for, by kind, and how many GPU jobs run at a time.
import os

from jacobian_ensembles.runs.devices import visible_gpus, wants_gpu

# Without GPUs no job has this resource, not even a zero: Kubernetes' executor takes every value for a request.
gpu = {"gpu": 1} if wants_gpu(cfg.compute.device) else {}


def megabytes(files):
    """The size of a job's inputs. Snakemake's own size_mb is a quarter of the planning of a large run."""
    if any(file.is_storage for file in files):
        return files.size_mb
    return sum(map(os.path.getsize, files)) / 1024**2


def with_images(least):
    """The memory of a job that holds a dataset: its images as stored, and as float32 with a copy or two. Measured on
    files of 55, 129 and 516 MB; more at each further try.
    """
    return lambda wildcards, input, attempt: attempt * max(
        least, round(800 + 5 * megabytes(input))
    )


# memory in MB and runtime in minutes, for one job on one core
ASSEMBLE = {"mem_mb": 300, "runtime": 5}  # copies, or counts bits
GATHER = {"mem_mb": 800, "runtime": 10}  # tables and figures
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
