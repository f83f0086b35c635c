"""The command line with what users bring: one line, the place where it broke, and nothing lost at the end."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from jacobian_ensembles.cli.main import main
from jacobian_ensembles.extensions.failures import one_line
from jacobian_ensembles.storage.files import ArtifactError, load_tensors, read_json, save_tensors, try_output

USERS = '''
import os
import signal
import numpy as np
import torch
from torch import nn


def data(local_dir):
    rng = np.random.default_rng(0)
    made = {f"{p}_images": rng.integers(0, 255, (n, 28, 28), dtype=np.uint8) for p, n in (("train", 60), ("test", 20))}
    return made | {f"{p}_labels": np.arange(n) % 10 for p, n in (("train", 60), ("test", 20))}


def broken_data(local_dir):
    return {}[local_dir]


class Net(nn.Module):
    """A classifier with something done to its scores."""

    def __init__(self, after=lambda z: z):
        super().__init__()
        self.net, self.after = nn.Sequential(nn.Flatten(), nn.Linear(784, 10)), after

    def forward(self, x):
        return self.after(self.net(x))


def fine(): return Net()
def key(): return Net(lambda z: {}["scores"])
def attribute(): return Net(lambda z: z.nothing)
def index(): return Net(lambda z: [][1])
def stop(): return Net(lambda z: next(iter(())))
def leaves(): raise SystemExit(4)
def asserts(): assert False, "first line\\nsecond line"
def shapes(): return Net(nn.Linear(3, 3))
def divides(): 1 / 0
def pair(): return Net(lambda z: (z, z))
def rounds(): return Net(lambda z: z.round())
def argument(path): return None
def nothing_made(): return None
def interrupted():
    os.kill(os.getpid(), signal.SIGINT)
    return Net()
class Odd(Exception): pass
def odd(): raise Odd
'''
DATA = ["--dataset", "users.py:data", "--set", "data.validation_images=10", "--set", "attack.iterations=2"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "users.py").write_text(USERS)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    import logging

    logging.getLogger("jacobian_ensembles").handlers.clear()
    logging.getLogger("jacobian_ensembles").propagate = True


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("key", "KeyError: 'scores' (/"),
        ("attribute", "AttributeError: 'Tensor' object has no attribute 'nothing' (/"),
        ("index", "IndexError: list index out of range (/"),
        ("stop", "StopIteration (/"),
        ("leaves", "SystemExit: 4 (/"),
        ("asserts", "AssertionError: first line (/"),
        ("shapes", "RuntimeError: mat1 and mat2 shapes cannot be multiplied"),
        ("divides", "ZeroDivisionError: division by zero (/"),
        ("odd", "Odd (/"),
        ("pair", "It returned a tuple of 2: wrap it"),
        ("rounds", "none of 2 steps had a finite gradient other than zero"),
        ("argument", "missing 1 required positional argument: 'path'"),
    ],
)
def test_any_failure_of_users_code_is_one_line_with_its_place(folder, capsys, model, message):
    assert main(["attack", f"users.py:{model}", *DATA, "--eps", "0.1"]) == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if "eps 0.1: 1/1" not in line]
    assert len(lines) == 1
    assert message in lines[0]
    if message.endswith("(/"):
        place, _, line = lines[0].rpartition("(")[2].rstrip(")").rpartition(":")
        assert Path(place) == folder / "users.py"
        assert model in USERS.splitlines()[int(line) - 1] or "Net(lambda" in USERS.splitlines()[int(line) - 1]
    assert not (folder / "uaps.safetensors").exists()


def test_a_dataset_that_fails_says_where(folder, capsys):
    assert main(["train", "--dataset", "users.py:broken_data"]) == 1
    assert capsys.readouterr().err.startswith("KeyError: None (/")


def test_ctrl_c_is_code_130_and_leaves_nothing(folder, capsys):
    assert main(["attack", "users.py:interrupted", *DATA, "--eps", "0.1"]) == 130
    assert capsys.readouterr().err == "Stopped.\n"
    assert sorted(p.name for p in folder.iterdir() if p.name != "__pycache__") == ["users.py"]


def test_a_model_that_cannot_be_used_is_code_2_before_any_image_is_read(folder, capsys):
    assert main(["evaluate", "users.py:nothing_made", *DATA]) == 2
    assert "users.py:nothing_made returned None" in capsys.readouterr().err
    assert not (folder / "results").exists()


def read_only(path):
    path.mkdir()
    path.chmod(0o555)
    return path / "x.safetensors"


OUTPUTS = {
    "folder": (lambda d: d, "it is a folder; name a file in it"),
    "folder-with-slash": (lambda d: f"{d}/", "it is a folder"),
    "below-a-file": (lambda d: d / "users.py" / "x", "cannot be written"),
    "device": (lambda d: "/dev/null", "it is no ordinary file"),
    "read-only": (lambda d: read_only(d / "closed"), "cannot be written (Permission denied"),
    "long": (lambda d: d / ("x" * 300) / "y", "cannot be written (File name too long"),
}


@pytest.mark.parametrize("kind", OUTPUTS)
@pytest.mark.parametrize(
    "command",
    [["train", "-o"], ["attack", "users.py:fine", "--eps", "0.1", "-o"], ["evaluate", "users.py:fine", "--csv"]],
    ids=["train", "attack", "evaluate"],
)
def test_where_the_result_goes_is_tried_before_any_work(folder, capsys, command, kind):
    if kind == "read-only" and os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    make, message = OUTPUTS[kind]
    assert main([*command, str(make(folder)), *DATA]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
    assert not (folder / "results").exists()  # not even the data were imported


def test_what_is_read_is_not_written_over(folder, capsys):
    assert main(["attack", "users.py:fine", *DATA, "--eps", "0.1", "-o", "u.safetensors"]) == 0
    kept = (folder / "u.safetensors").read_bytes()
    assert main(["evaluate", "users.py:fine", *DATA, "--uaps", "u.safetensors", "--csv", "./u.safetensors"]) == 2
    assert "it is read and would be overwritten" in capsys.readouterr().err
    assert (folder / "u.safetensors").read_bytes() == kept
    assert main(["attack", "users.py:fine", *DATA, "--eps", "0.1", "-o", "new/folder/u.safetensors"]) == 0


def test_trying_an_output_leaves_what_is_there(tmp_path):
    (tmp_path / "x").write_text("kept")
    try_output(tmp_path / "x")
    try_output(tmp_path / "y")
    assert (tmp_path / "x").read_text() == "kept"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x"]


def ours(path):
    save_tensors(path, {"a": np.arange(2000)}, "learners", {})


def truncated(path):
    ours(path)
    path.write_bytes(path.read_bytes()[:-500])


FOREIGN = {
    "torch.save": lambda p: torch.save(nn.Linear(3, 3).state_dict(), p),
    "old torch.save": lambda p: torch.save(nn.Linear(3, 3).state_dict(), p, _use_new_zipfile_serialization=False),
    "zip": lambda p: np.savez(p.open("wb"), a=np.zeros(3)),
    "npy": lambda p: np.save(p.open("wb"), np.zeros(3)),
    "text": lambda p: p.write_text("weights"),
    "empty": lambda p: p.touch(),
    "html": lambda p: p.write_text("<html>jacobian_ensembles</html>"),
    "zeros": lambda p: p.write_bytes(bytes(5000)),
    "hdf5": lambda p: p.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100)),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_nobody_is_told_to_delete_what_this_project_did_not_make(tmp_path, kind):
    FOREIGN[kind](tmp_path / "w")
    with pytest.raises(ArtifactError, match=r"path/to/file.py:function") as error:
        load_tensors(tmp_path / "w", "learners")
    assert "elete" not in str(error.value).replace(str(tmp_path), "")
    assert ("torch.save" in str(error.value)) == (kind in ("torch.save", "old torch.save", "zip"))


def test_a_damaged_file_of_ours_may_be_deleted_and_another_projects_may_not(tmp_path):
    truncated(tmp_path / "w")
    with pytest.raises(ArtifactError, match="truncated or damaged; delete it to have it made again"):
        load_tensors(tmp_path / "w", "learners")
    from safetensors.numpy import save_file

    save_file({"a": np.zeros(3)}, tmp_path / "theirs")
    with pytest.raises(ArtifactError, match="not one of this project") as error:
        load_tensors(tmp_path / "theirs", "learners")
    assert "elete" not in str(error.value).replace(str(tmp_path), "")


def test_a_missing_file_is_called_missing_and_a_folder_a_folder(tmp_path):
    for read in (lambda p: load_tensors(p, "uaps"), read_json):
        with pytest.raises(ArtifactError, match="there is no such file"):
            read(tmp_path / "nothing")
    with pytest.raises(ArtifactError, match="it is a folder, where a file is needed"):
        load_tensors(tmp_path, "uaps")


def test_a_python_file_without_a_function_is_asked_for_one(folder, capsys):
    assert main(["attack", "users.py", *DATA, "--eps", "0.1"]) == 2
    assert "Name the function that returns it: users.py:function" in capsys.readouterr().err


def test_one_line_is_one_line():
    assert one_line(ValueError("a\nb")) == "ValueError: a"
    assert one_line(KeyError()) == "KeyError"


@pytest.mark.parametrize("reader", ["true", "head -c 1"])
def test_a_table_is_written_before_a_terminal_that_nobody_reads(folder, reader):
    program = f"{sys.executable} -c 'import sys; from jacobian_ensembles.cli.main import main; sys.exit(main())'"
    command = f"{program} evaluate users.py:fine {' '.join(DATA)} --csv out.csv | {reader}; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=folder, capture_output=True, text=True)
    assert "BrokenPipe" not in done.stderr
    assert done.stdout.splitlines()[-1].split()[-1] == "0"
    assert "clean" in (folder / "out.csv").read_text()
