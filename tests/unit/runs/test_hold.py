import errno
import os
import signal
import subprocess
import sys

import pytest
from filelock import FileLock

from jacobian_ensembles.runs.hold import RunHeldError, hold_run, try_temporary_files

HOLDER = """
import sys, time
from jacobian_ensembles.runs.hold import hold_run
hold_run(sys.argv[1])  # as the workflow does: nobody keeps what it returns
print("held", flush=True)
time.sleep(600)
"""


@pytest.fixture
def other(tmp_path):
    """Another process that holds a run, under another spelling of its folder."""
    (tmp_path / "run").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "run")
    process = subprocess.Popen([sys.executable, "-c", HOLDER, tmp_path / "link"], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_a_second_process_is_refused_and_told_who_is_there(tmp_path, other):
    with pytest.raises(
        RunHeldError, match=rf"run: process {other.pid}, started in .*works on these results.*run\.name"
    ):
        hold_run(tmp_path / "run")
    assert hold_run(tmp_path / "another").is_locked


def test_a_killed_process_holds_nothing(tmp_path, other):
    os.kill(other.pid, signal.SIGKILL)
    other.wait()
    assert hold_run(tmp_path / "run").is_locked


def test_a_file_system_without_locks_costs_a_warning(tmp_path, monkeypatch, caplog):
    def unknown(self):
        raise NotImplementedError("FileSystem does not appear to support flock")

    monkeypatch.setattr(type(FileLock(tmp_path / "x")), "acquire", unknown)
    assert hold_run(tmp_path / "run") is None
    assert "cannot be locked" in caplog.text


def test_a_folder_without_room_for_temporary_files_is_named(tmp_path, monkeypatch):
    monkeypatch.delenv("TMP", raising=False)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    try_temporary_files()
    assert not list(tmp_path.iterdir())
    monkeypatch.setenv("TMP", str(tmp_path / "missing"))  # which Snakemake's solver prefers
    with pytest.raises(OSError, match=r"/missing: temporary files cannot be written \(No such file.*TMPDIR="):
        try_temporary_files()

    def full(**_):
        raise OSError(errno.ENOSPC, "No space left on device")  # no path in it, as of a write

    monkeypatch.setattr("tempfile.TemporaryFile", full)
    for names in (("TMP", "TMPDIR"), ()):
        for name in ("TMP", "TMPDIR"):
            monkeypatch.setenv(name, str(tmp_path)) if name in names else monkeypatch.delenv(name)
        with pytest.raises(OSError, match=r"^/\S+: temporary files cannot be written \(No space left on device\)"):
            try_temporary_files()
