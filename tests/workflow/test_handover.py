"""What a run is configured with, and that each of its jobs gets just that."""

import os
import random
import subprocess

import pytest
import yaml
from helpers_parsing import ROOT, workflow
from snakemake.exceptions import WorkflowError
from snakemake.settings.types import SharedFSUsage
from snakemake_interface_executor_plugins.settings import ExecMode


def test_a_job_uses_the_configuration_that_its_run_was_started_with(monkeypatch):
    monkeypatch.setenv("JACOBIAN_ENSEMBLES_RUN", "")  # put back afterwards
    with workflow({"seed": 7}) as flow:
        config = flow.config
    with workflow({"seed": 8}, mode=ExecMode.REMOTE) as flow:  # the file was edited since
        assert flow.config == config
        assert flow.config["seed"] == 7


def test_a_job_that_lost_its_configuration_says_so_and_what_to_do(monkeypatch):
    monkeypatch.setenv("JACOBIAN_ENSEMBLES_RUN", "")
    refused("JACOBIAN_ENSEMBLES_RUN holds nothing.*--export=ALL")
    monkeypatch.delenv("JACOBIAN_ENSEMBLES_RUN")
    refused("JACOBIAN_ENSEMBLES_RUN holds nothing.*--export=ALL")


def test_a_job_refuses_a_configuration_that_is_not_its_runs(monkeypatch):
    monkeypatch.setenv("JACOBIAN_ENSEMBLES_RUN", "")  # put back afterwards
    with workflow({"seed": 7}):
        left = ROOT / os.environ["JACOBIAN_ENSEMBLES_RUN"]
    content = left.read_bytes()
    try:
        for wrong in (b"", content[:-1], content.replace(b'"seed": 7', b'"seed": 8')):
            left.write_bytes(wrong)
            refused(f"{left.name} was changed or cut off. Start Snakemake again")
    finally:
        left.unlink()
    refused(f"{left.name} cannot be read .No such file.*Start Snakemake again")


def refused(message):
    with pytest.raises(WorkflowError, match=message) as error, workflow(mode=ExecMode.REMOTE):
        pass
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("content", ["model: resnet50\nlr: 0.1\n", "- a list\n", '{"name": "app", "version": 1}'])
def test_a_configuration_of_another_tool_is_named_with_the_way_out(tmp_path, content):
    (tmp_path / "config.yaml").write_text(content)
    with pytest.raises(WorkflowError) as error, workflow(folder=tmp_path):
        pass
    assert f"{tmp_path}/config.yaml" in str(error.value)
    assert "rename it, or name another folder with --directory" in str(error.value)


def test_files_of_either_format_and_the_command_line_lie_over_the_grid(monkeypatch, tmp_path):
    monkeypatch.setenv("JACOBIAN_ENSEMBLES_RUN", "")
    (tmp_path / "overlay.json").write_text('{\t"run": {\t"results": "./größe/",\n\t\t"name": "x"\t},\n"seed": 4}')
    (tmp_path / "later.yaml").write_text("run: {name: y}\ndata: {local_dir: here}\nattack: {loss_cap: 3}\n")
    said = {"run": {"name": "z"}, "data": {"local_dir": "null", "train_images": "~"}, "attack": {"loss_cap": ""}}
    files = [tmp_path / "overlay.json", tmp_path / "later.yaml"]
    with workflow(said, folder=tmp_path, files=files) as flow:
        config = flow.config
    assert (config["run"]["name"], config["run"]["results"], config["seed"]) == ("z", "größe", 4)
    assert (config["data"]["local_dir"], config["data"]["train_images"], config["attack"]["loss_cap"]) == (None,) * 3
    message = r"seed: got 'x'.*\(in --config\)\n  attack.lose: unknown key.*\(in .*/third.yaml\)"
    (tmp_path / "third.yaml").write_text("attack: {lose: margin}\n")
    with pytest.raises(WorkflowError, match=message), workflow({"seed": "x"}, files=[tmp_path / "third.yaml"]):
        pass


def test_a_run_of_any_size_is_handed_over(monkeypatch):
    monkeypatch.setenv("JACOBIAN_ENSEMBLES_RUN", "")
    with workflow({"run": {"banner": random.Random(0).randbytes(200_000).hex()}}) as flow:
        config = flow.config
    # what a process may be given in one variable is 128 KiB
    subprocess.run(["true"], check=True)
    with workflow(mode=ExecMode.REMOTE) as flow:
        assert flow.config == config
    (ROOT / os.environ["JACOBIAN_ENSEMBLES_RUN"]).unlink()


def test_jobs_that_see_no_files_get_the_configuration_in_their_environment(monkeypatch):
    monkeypatch.setenv("JACOBIAN_ENSEMBLES_RUN", "")
    shared = SharedFSUsage.all() - {SharedFSUsage.PERSISTENCE}
    with workflow({"run": {"banner": "ümlaut"}}, shared=shared) as flow:
        config = flow.config
    assert len(os.environ["JACOBIAN_ENSEMBLES_RUN"]) < 10_000
    with workflow(mode=ExecMode.REMOTE) as flow:
        assert flow.config == config
    whole = os.environ["JACOBIAN_ENSEMBLES_RUN"]
    for damaged in (whole[:-40], whole[:9], whole.replace(whole[50], "!")):
        monkeypatch.setenv("JACOBIAN_ENSEMBLES_RUN", damaged)
        with pytest.raises(WorkflowError, match="was changed or cut off"), workflow(mode=ExecMode.REMOTE):
            pass
    long = {"run": {"banner": random.Random(0).randbytes(200_000).hex()}}
    with pytest.raises(WorkflowError, match="at most 100,000 characters"), workflow(long, shared=shared):
        pass


def test_the_configuration_is_complete_wherever_a_job_reads_it():
    with workflow() as flow:
        config = flow.config
    assert config["compute"] == {"device": "auto", "gpu_slots": 1}
    assert config["grid"]["lambdas"][1] == 0.01
    assert set(config) == {*yaml.safe_load((ROOT / "config.yaml").read_text()), "started"}
