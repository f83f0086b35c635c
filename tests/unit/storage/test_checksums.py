import subprocess

import pytest

from jacobian_ensembles.storage.checksums import (
    read_provenance,
    read_record,
    sha256,
    verify_all,
    verify_checksum,
    write_checksums,
    write_record,
)
from jacobian_ensembles.storage.files import ArtifactError, write_json
from jacobian_ensembles.storage.tables import read_table


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


@pytest.fixture
def tables(tmp_path):
    """Two tables of a run, and the provenance of the jobs that made them; the second job left another table, too."""
    for name, others in {"a": [], "b": ["more"]}.items():
        for table in (name, *others):
            (tmp_path / f"{table}.csv").write_text(f"x\n{table}\n")
        outputs = {f"{table}.csv": sha256(tmp_path / f"{table}.csv") for table in (name, *others)}
        write_record(tmp_path / f"{name}.provenance.json", {"settings": {}, "outputs": outputs})
    return tmp_path


def test_a_table_of_a_live_run_is_known_by_the_provenance_beside_it(tables):
    for name in ("a", "b", "more"):
        verify_checksum(tables / f"{name}.csv")
        assert read_table(tables / f"{name}.csv")["x"].tolist() == [name]
    (tables / "a.csv").rename(tables / "t")
    (tables / "more.csv").rename(tables / "a.csv")
    (tables / "t").rename(tables / "more.csv")
    for name in ("a", "more"):
        with pytest.raises(ArtifactError, match=rf"{name}\.csv: its checksum .* another result's"):
            read_table(tables / f"{name}.csv")


def test_a_flipped_bit_in_a_table_or_in_its_provenance_is_found(tables):
    for name in ("a.csv", "a.provenance.json"):
        content = (tables / name).read_bytes()
        for position in range(len(content)):
            (tables / name).write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])
            with pytest.raises(ArtifactError, match=r"a\.(csv|provenance\.json): "):
                verify_checksum(tables / "a.csv")
        (tables / name).write_bytes(content)


def test_provenance_of_an_earlier_version_is_read_as_it_is(tmp_path):
    write_json(tmp_path / "a.provenance.json", {"settings": {"rule": "x"}})
    assert read_provenance(tmp_path / "a.provenance.json") == {"settings": {"rule": "x"}}
    (tmp_path / "a.csv").write_text("x\n")
    verify_checksum(tmp_path / "a.csv")


def test_a_list_that_names_a_file_twice_and_links_are_refused(tmp_path):
    (tmp_path / "a.csv").write_text("x\n")
    write_checksums([tmp_path / "a.csv"])
    verify_all(tmp_path)
    (tmp_path / "link").symlink_to("/etc/hostname")
    with pytest.raises(ArtifactError, match="link: a link"):
        verify_all(tmp_path)
    (tmp_path / "link").unlink()
    sums = tmp_path / "SHA256SUMS"
    sums.write_text(f"{'0' * 64}  a.csv\n{sums.read_text()}")
    with pytest.raises(ArtifactError, match="each file once"):
        verify_all(tmp_path)
