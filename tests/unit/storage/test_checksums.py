import subprocess

import pytest

from jacobian_ensembles.storage.checksums import read_record, verify_checksum, write_checksums, write_record
from jacobian_ensembles.storage.files import ArtifactError


def test_a_record_comes_back_with_its_floats_to_the_bit(tmp_path):
    record = {"a": 0.1 + 0.2, "b": [1, None, "x"], "c": 1e-300}
    write_record(tmp_path / "x.json", record)
    assert read_record(tmp_path / "x.json") == record


def test_an_altered_record_is_refused(tmp_path):
    path = tmp_path / "x.json"
    write_record(path, {"worst_accuracy": 0.512, "seeds": 50})
    original = path.read_text()
    for old, new in [("0.512", "0.572"), (": 50", ": 51"), ('"seeds"', '"sfeds"'), ('"sha256"', '"sha257"')]:
        assert original.count(old) == 1
        path.write_text(original.replace(old, new))
        with pytest.raises(ArtifactError, match=r"x\.json: its checksum"):
            read_record(path)


def test_checksums_are_those_of_sha256sum_and_find_every_flipped_bit(tmp_path):
    table, other = tmp_path / "a.csv", tmp_path / "b.csv"
    table.write_text("x,y\n1,2\n")
    other.write_text("")
    write_checksums([table, other])
    subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=tmp_path, check=True, capture_output=True)
    verify_checksum(table)
    content = table.read_bytes()
    for position in range(len(content)):
        table.write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])
        with pytest.raises(ArtifactError, match=r"a\.csv: its checksum"):
            verify_checksum(table)


def test_a_table_that_no_list_names_is_not_checked_and_a_damaged_list_is_refused(tmp_path):
    (tmp_path / "a.csv").write_text("x\n")
    verify_checksum(tmp_path / "a.csv")
    (tmp_path / "SHA256SUMS").write_text("no checksums here\n")
    with pytest.raises(ArtifactError, match="SHA256SUMS: no list of checksums"):
        verify_checksum(tmp_path / "a.csv")
