"""House rules that every rule and adapter keeps, checked on the parsed workflow."""

import ast
import inspect
import logging
import math
import re
import runpy
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from helpers_parsing import workflow
from snakemake.cli import parse_args
from snakemake.dag import ScriptProcessor
from snakemake.io import IOFile
from snakemake.iocontainers import InputFiles
from snakemake.scheduling import job_scheduler
from snakemake.scheduling.job_scheduler import JobScheduler
from snakemake.settings.enums import RerunTrigger

from jacobian_ensembles.storage.files import save_tensors

ROOT = Path(__file__).resolve().parents[2]
TARGETS = {"all", "data", "learners", "metrics", "figures", "tables", "recipe", "theory", "claims", "ablation"}
TARGETS |= {"spread", "stress", "worst_of_k", "compare", "ship", "reference_figures"}
INHERITED = {
    "craft_variant": "craft_uaps",
    "gather_variant": "gather_records",
    "redraw_figure": "plot_figure",
    "redraw_latex_table": "write_table",
    "redraw_table": "write_table",
    "select_variant": "select_worst_uap",
    "train_together": "train_learner",
    "write_latex_table": "write_table",
}  # rules that use another's script
# their inputs are the tables that the catalogue names
NAMED_BY_A_FUNCTION = {"plot_figure", "write_table", "write_latex_table"}
NAMED_BY_A_FUNCTION |= {"redraw_figure", "redraw_table", "redraw_latex_table"}
SCRIPTS = sorted(p for p in (ROOT / "workflow" / "scripts").glob("*.py") if p.name != "_job.py")


def parsed(**config):
    with workflow(config) as flow:
        yield {rule.name: rule for rule in flow.rules}


@pytest.fixture(scope="module")
def rules():
    yield from parsed()


@pytest.fixture(scope="module")
def gpu_rules():
    yield from parsed(compute={"device": "cuda"})


def jobs(rules):
    return {name: rule for name, rule in rules.items() if name not in TARGETS}


def test_every_rule_has_log_benchmark_message_environment_and_code(rules):
    for name, rule in jobs(rules).items():
        assert rule.log, name
        assert rule.benchmark, name
        assert rule.message, name
        assert rule.conda_env, name
        # what fetches a dataset is not tracked: its bytes are verified
        assert "code" in dict(rule.params.items()) or name in ("download_dataset", "import_dataset"), name


def test_every_rule_declares_threads_memory_and_runtime_and_on_the_cpu_no_gpu(rules):
    for name, rule in jobs(rules).items():
        assert {"_cores", "mem_mb", "runtime"} <= set(rule.resources), name
        # a zero is a request for a GPU to Kubernetes' executor
        assert "gpu" not in set(rule.resources), name


#: The most that jobs which train or craft used, in MB, by the MB of their dataset, its images' shape and the batch.
PEAKS = {
    (52, (28, 28), 200): 870, (199, (64, 64, 3), 200): 1712, (492, (64, 64, 3), 200): 3277,
    (199, (64, 64, 3), 1000): 1995,
}  # fmt: skip
WITH_IMAGES = ("train_learner", "train_together", "train_trial", "craft_uaps", "craft_variant", "measure_transfer")


@pytest.mark.parametrize(("megabytes", "shape", "batch"), PEAKS)
def test_the_memory_of_a_job_follows_its_dataset_and_its_batches_and_grows_with_each_try(
    tmp_path, megabytes, shape, batch
):
    peak, path = PEAKS[megabytes, shape, batch], str(tmp_path / "images.safetensors")
    images = np.zeros((megabytes * 1024**2 // math.prod(shape), *shape), np.uint8)
    save_tensors(path, {"train_images": images}, kind="dataset", spec={})
    images = InputFiles(fromdict={"dataset": IOFile(path)})
    for rules in parsed(attack={"batch_size": batch}):
        for name in WITH_IMAGES:
            memory = rules[name].resources["mem_mb"]
            asked = memory.evaluate(None, input=images, attempt=1).value
            assert 1.15 * peak < asked < max(2001, 1.6 * peak), name
            assert memory.evaluate(None, input=images, attempt=3).value == 3 * asked


def test_only_rules_that_compute_on_a_gpu_ask_for_one(gpu_rules):
    asking = {name for name, rule in jobs(gpu_rules).items() if "gpu" in set(rule.resources)}
    assert {gpu_rules[name].resources["gpu"].value for name in asking} == {1}
    assert asking == {"train_learner", "train_together", "train_trial", "evaluate_ensemble", "craft_uaps",
                      "craft_variant", "predict_examples", "measure_transfer",
                      "attack_images", "attack_members", "certify_ensemble"}  # fmt: skip


def test_inputs_and_outputs_are_named_and_every_result_has_provenance(rules):
    for name, rule in jobs(rules).items():
        assert dict(rule.input.items()) or name in NAMED_BY_A_FUNCTION | {"download_dataset", "import_dataset"}, name
        assert len(dict(rule.output.items())) == len(rule.output), name
        assert "provenance" in dict(rule.output.items()), name


def test_each_rule_runs_the_script_of_its_own_name(rules):
    assert {name: Path(rule.script).name for name, rule in jobs(rules).items()} == {
        name: f"{INHERITED.get(name, name)}.py" for name in jobs(rules)
    }
    assert {path.stem for path in SCRIPTS} == set(jobs(rules)) - set(INHERITED)


def test_snakemake_looks_for_jobs_once_per_interval_however_often_it_is_told_to(rules):
    scheduler = SimpleNamespace(_open_jobs=threading.Semaphore(0))
    for looks in (1, 2):
        for _ in range(20):
            JobScheduler._schedule_reevalutation(scheduler, 0.1)
        time.sleep(0.5)
        assert scheduler._open_jobs._value == looks
    JobScheduler._schedule_reevalutation(scheduler, 60)
    JobScheduler._schedule_reevalutation(scheduler, 0.1)  # sooner than what is pending
    time.sleep(0.5)
    assert scheduler._open_jobs._value == 3


def test_snakemake_has_what_the_stopgap_for_its_scheduler_replaces_and_uses():
    # red: see whether the fault is gone, and with it workflow/rules/scheduler.smk
    source = inspect.getsource(job_scheduler)  # the class itself is changed by now
    assert "def _schedule_reevalutation(self, delay" in source
    assert "self._open_jobs.release()" in source


@pytest.mark.parametrize("renamed", ["module", "method", "attribute"])
def test_a_scheduler_that_the_stopgap_does_not_know_costs_a_warning_and_nothing_else(monkeypatch, renamed):
    if renamed == "module":
        monkeypatch.setitem(sys.modules, "snakemake.scheduling.job_scheduler", None)
    elif renamed == "method":
        monkeypatch.delattr(JobScheduler, "_schedule_reevalutation")
    else:
        monkeypatch.setattr(JobScheduler, "__init__", lambda self: None)
    warnings, before = [], vars(JobScheduler).get("_schedule_reevalutation")
    monkeypatch.setattr(logging.getLogger("snakemake.logging"), "warning", warnings.append)
    runpy.run_path(str(ROOT / "workflow/rules/scheduler.smk"), {"imported_as": None})
    assert "scheduler.smk" in warnings[0]
    assert vars(JobScheduler).get("_schedule_reevalutation") is before


def test_there_is_one_block_of_what_happens_before_a_job_starts():
    # of several Snakemake runs the last, and forgets the others without a word
    files = [ROOT / "Snakefile", *(ROOT / "workflow/rules").glob("*.smk")]
    for block in ("onstart", "onsuccess", "onerror"):
        assert sum(len(re.findall(rf"^{block}:", file.read_text(), re.MULTILINE)) for file in files) <= 1, block


def test_snakemake_looks_at_one_script_of_each_rule_since_none_has_wildcards(rules):
    assert not any({"{", "}"} & set(str(rule.script)) for rule in jobs(rules).values())
    assert ScriptProcessor.process_job.__module__ != "snakemake.dag"
    looked, processor = [], SimpleNamespace()
    once = runpy.run_path(str(ROOT / "workflow/rules/scheduler.smk"), {"imported_as": "another"})["once_per_rule"]
    look = once(lambda _, job: looked.append(job.rule))
    for rule in "abab":
        look(processor, SimpleNamespace(rule=rule))
    assert looked == ["a", "b"]
    look(SimpleNamespace(), SimpleNamespace(rule="a"))  # of another workflow in this process
    assert looked == ["a", "b", "a"]


@pytest.mark.parametrize(
    ("compute", "given", "limit"),
    [
        ({"device": "cuda"}, {}, 1),
        ({"device": "cuda", "gpu_slots": 4}, {}, 4),
        ({"device": "cuda", "gpu_slots": 4}, {"gpu": 2}, 2),
        ({"device": "cpu"}, {}, None),
    ],
)
def test_as_many_gpu_jobs_run_as_there_are_slots_unless_the_user_says_otherwise(monkeypatch, compute, given, limit):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    with workflow({"compute": compute}, given) as flow:
        assert flow.global_resources.get("gpu").value == limit
        assert flow.resource_scopes.is_local("gpu")


def test_no_rule_runs_python_in_the_snakefile_or_a_shell(rules):
    for name, rule in jobs(rules).items():
        assert not rule.is_run, name
        assert not rule.shellcmd, name


def test_params_hold_neither_devices_nor_result_paths(rules):
    for name, rule in jobs(rules).items():
        text = repr(dict(rule.params.items()))
        assert "device" not in text, name
        assert "results/" not in text, name


def test_every_wildcard_is_constrained(rules):
    for name, rule in jobs(rules).items():
        constrained = {*rule.wildcard_constraints, *rule.workflow.modifier.wildcard_constraints}
        free = rule.wildcard_names - constrained
        assert not free, f"{name}: {free}"


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda p: p.stem)
def test_an_adapter_is_short_and_calls_one_function_of_the_package(path):
    source = path.read_text()
    assert len(source.splitlines()) <= 24
    tree = ast.parse(source)
    imported = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module.startswith("jacobian_ensembles")
        for alias in node.names
    }
    called = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    functions = {name for name in imported & called if name.islower()}
    assert len(functions) == 1


def test_only_adapters_know_snakemake():
    for path in (ROOT / "src").rglob("*.py"):
        names = {n.id for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Name)}
        assert "snakemake" not in names, path.name


@pytest.mark.parametrize("path", sorted((ROOT / "profiles").glob("*/config.yaml")), ids=lambda p: p.parent.name)
def test_every_line_of_a_profile_has_a_comment(path):
    lines, block = path.read_text().splitlines(), False
    for line in lines:
        # the continuation lines of a folded command, and lines of Python, have none of their own
        block = block and line.startswith("  ")
        assert block or re.search(r"^#|(^| )# \S", line), line
        block = block or ">-" in line or "- |" in line


def test_the_default_profile_overwrites_nothing_of_another():
    default = set(yaml.safe_load((ROOT / "profiles/default/config.yaml").read_text()))
    for path in (ROOT / "profiles").glob("*/config.yaml"):
        assert path.parent.name == "default" or not default & set(yaml.safe_load(path.read_text())), path


@pytest.mark.parametrize(("profile", "gpus"), [("slurm", 1), ("cluster-generic", 1), ("multi-gpu", 16)])
def test_a_profile_and_the_default_one_add_up_wherever_snakemake_is_started(monkeypatch, tmp_path, profile, gpus):
    monkeypatch.chdir(tmp_path)
    _, args = parse_args(["-s", str(ROOT / "Snakefile"), "--profile", str(ROOT / "profiles" / profile)])
    assert args.rerun_incomplete
    assert args.rerun_triggers == set(RerunTrigger.all()) - {RerunTrigger.CODE}
    assert args.resources["gpu"].value == gpus
    if profile == "cluster-generic":
        assert Path(args.cluster_generic_status_cmd).is_file()


@pytest.mark.parametrize("profile", ["slurm", "cluster-generic"])
def test_a_cluster_profile_groups_every_rule_that_is_submitted(rules, profile):
    settings = yaml.safe_load((ROOT / f"profiles/{profile}/config.yaml").read_text())
    grouped = {entry.partition("=")[0] for entry in settings["groups"]}
    assert grouped <= set(rules)
    local = next(iter(rules.values())).workflow._localrules
    submitted = set(jobs(rules)) - local
    assert submitted == grouped
    assert any(str(entry).startswith("compute=") for entry in settings["config"])
