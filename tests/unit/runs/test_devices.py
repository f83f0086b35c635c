import os
import subprocess
import sys
import types

import pytest

from jacobian_ensembles.runs import devices
from jacobian_ensembles.runs.devices import NoFreeSlotError, claim_gpu, visible_gpus, wants_gpu


@pytest.fixture(autouse=True)
def _private_locks(tmp_path, monkeypatch):
    monkeypatch.setattr(devices.tempfile, "gettempdir", lambda: str(tmp_path))


def listing(text, code=0):
    return lambda *args, **kwargs: subprocess.CompletedProcess(args, code, text, "")


@pytest.mark.parametrize(
    ("value", "gpus"), [("", []), ("-1", []), ("0,2", ["0", "2"]), ("GPU-1a, GPU-2b", ["GPU-1a", "GPU-2b"])]
)
def test_the_environment_decides_which_gpus_are_visible(monkeypatch, value, gpus):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    assert visible_gpus() == gpus
    assert wants_gpu("auto") == bool(gpus)
    assert wants_gpu("cuda")
    assert not wants_gpu("cpu")


def test_otherwise_the_driver_is_asked(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(devices.subprocess, "run", listing("GPU 0: A (UUID: x)\nGPU 1: B (UUID: y)\n"))
    assert visible_gpus() == ["0", "1"]
    monkeypatch.setattr(devices.subprocess, "run", listing("no driver", code=9))
    assert visible_gpus() == []

    def missing(*args, **kwargs):
        raise FileNotFoundError("nvidia-smi")

    monkeypatch.setattr(devices.subprocess, "run", missing)
    assert visible_gpus() == []


def test_jobs_spread_over_devices_before_they_share_one(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    with claim_gpu(2) as first:
        assert os.environ["CUDA_VISIBLE_DEVICES"] == first
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")  # as another process sees it
        with claim_gpu(2) as second, _seeing("4,7"), claim_gpu(2) as third:
            assert {first, second} == {"4", "7"}
            assert third in ("4", "7")
            with _seeing("4,7"), claim_gpu(2) as fourth:
                assert sorted([first, second, third, fourth]) == ["4", "4", "7", "7"]
                with _seeing("4,7"), pytest.raises(NoFreeSlotError, match=r"--resources gpu=4"), claim_gpu(2):
                    pass


class _seeing:  # noqa: N801 - reads as a phrase
    def __init__(self, value):
        self.value = value

    def __enter__(self):
        self.before = os.environ["CUDA_VISIBLE_DEVICES"]
        os.environ["CUDA_VISIBLE_DEVICES"] = self.value

    def __exit__(self, *error):
        os.environ["CUDA_VISIBLE_DEVICES"] = self.before


def test_a_slot_is_freed_and_the_environment_restored_when_a_job_fails(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    for _ in range(2):
        with pytest.raises(RuntimeError, match="a failing job"), claim_gpu(1):
            raise RuntimeError("a failing job")
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "3"


def test_without_a_gpu_the_advice_is_to_use_the_cpu(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(NoFreeSlotError, match=r"Set compute\.device: cpu"), claim_gpu(1):
        pass


@pytest.mark.gpu
def test_cuda_is_set_up_for_exact_float32():
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    assert devices.prepare_device("cuda").type == "cuda"
    assert not torch.backends.cudnn.allow_tf32


def test_cuda_without_a_device_is_refused_with_advice(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RuntimeError, match=r"can use none.*compute\.device: cpu"):
        devices.prepare_device("cuda")


def test_an_unset_environment_is_unset_again(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(devices.subprocess, "run", listing("GPU 0: A\n"))
    with claim_gpu(1) as gpu:
        assert os.environ["CUDA_VISIBLE_DEVICES"] == gpu == "0"
    assert "CUDA_VISIBLE_DEVICES" not in os.environ


def test_jobs_are_other_processes_and_a_killed_one_frees_its_slot(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    code = "from jacobian_ensembles.runs.devices import claim_gpu\n"
    code += "with claim_gpu(1) as g: print(g, flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1, text=True) as job:
        try:
            assert job.stdout.readline() == "3\n"
            with pytest.raises(NoFreeSlotError), claim_gpu(1):
                pass
        finally:
            job.kill()
    with claim_gpu(1) as gpu:
        assert gpu == "3"


def test_devices_after_an_invalid_one_are_not_visible(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,-1,2")
    assert visible_gpus() == ["0"]


@pytest.mark.parametrize(
    ("build", "uses"),
    [
        ("cuda: Optional[str] = None\nhip: Optional[str] = None\n", False),
        ("cuda = None\nhip = None\n", False),
        ("cuda: Optional[str] = '13.0'\nhip: Optional[str] = None\n", True),
        ("cuda: Optional[str] = None\nhip: Optional[str] = '6.4'\n", True),
        ("", True),  # unknown: torch itself will say
    ],
)
def test_auto_is_the_cpu_where_torch_was_built_for_cpus(monkeypatch, tmp_path, caplog, build, uses):
    (tmp_path / "version.py").write_text(build)
    spec = types.SimpleNamespace(origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(devices, "find_spec", lambda name: spec)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    devices._built_without_cuda.cache_clear()
    assert wants_gpu("auto") == uses
    assert ("computing on the CPU" in caplog.text) != uses
    assert wants_gpu("cuda")
    devices._built_without_cuda.cache_clear()
