"""Every file that a run stores, whatever its kind: a flipped bit, or another file in its place, is found by its reader.

What reads is what every job does with its inputs before it starts, and the function for files of that kind.
"""

import os
from collections import defaultdict
from contextlib import contextmanager

import pytest

from jacobian_ensembles.runs.archive import check_archive
from jacobian_ensembles.storage.checksums import PROVENANCE, read_provenance, read_record, verify_checksum
from jacobian_ensembles.storage.files import ArtifactError, load_tensors, read_header

pytestmark = pytest.mark.workflow

#: Files that are the only ones of their kind in a run.
ALONE = {"config.yaml", "provenance.json", "report.html", "examples.json", "metrics/SHA256SUMS", "tables/table1.tex"}


@pytest.fixture(scope="module")
def files(smoke):
    """The stored files of the smoke run and of its datasets, by the path from the results folder."""
    results = smoke.path / "results"
    found = {path.relative_to(results).as_posix(): path for path in sorted(results.rglob("*")) if path.is_file()}
    return {
        name: path
        for name, path in found.items()
        if name.split("/")[0] in ("smoke", "data")
        and name.split("/")[1] not in ("logs", "benchmarks")
        and not path.name.startswith(".")
    }


def read(path, kind=None):
    """Read a file as jobs do."""
    if path.name.endswith(PROVENANCE):
        read_provenance(path)
        return
    verify_checksum(path)
    if path.suffix == ".safetensors":
        load_tensors(path, kind)
    elif path.suffix == ".json" and path.name != "provenance.json":
        read_record(path)


def refused(path, kind):
    """Whether reading a file fails with a message that names it."""
    try:
        read(path, kind)
    except ArtifactError as error:
        return path.stem in str(error)
    return False


@contextmanager
def changed(*paths):
    """Files that are as they were afterwards, with their times."""
    before = [(path, path.read_bytes(), path.stat()) for path in paths]
    try:
        yield
    finally:
        for path, content, told in before:
            path.write_bytes(content)
            os.utime(path, ns=(told.st_atime_ns, told.st_mtime_ns))


def kind_of(path):
    return read_header(path)[0] if path.suffix == ".safetensors" else None


def exchange(one, other):
    contents = one.read_bytes(), other.read_bytes()
    one.write_bytes(contents[1])
    other.write_bytes(contents[0])


def test_every_stored_file_is_listed_in_the_provenance_of_one_job(files):
    listed = defaultdict(list)
    for path in files.values():
        if path.name.endswith(PROVENANCE):
            for name in read_provenance(path)["outputs"]:
                listed[os.path.normpath(path.parent / name)].append(path)
    assert {str(path) for path in files.values() if not path.name.endswith(PROVENANCE)} == set(listed)
    assert max(map(len, listed.values())) == 1


def test_a_flipped_bit_in_any_stored_file_is_found(files):
    flips = 0
    for name, path in files.items():
        kind, content = kind_of(path), path.read_bytes()
        read(path, kind)
        with changed(path):
            for at in sorted({0, len(content) // 2, len(content) - 1}):
                with path.open("r+b") as file:
                    file.seek(at)
                    file.write(bytes([content[at] ^ 1]))
                assert refused(path, kind), f"nobody sees a flipped bit at {at} of {name}"
                with path.open("r+b") as file:
                    file.seek(at)
                    file.write(content[at : at + 1])
                flips += 1
    assert flips > 2 * len(files) > 300


def test_two_files_of_a_kind_in_each_others_place_are_found_with_and_without_their_provenance(files):
    kinds = defaultdict(list)
    for name, path in files.items():
        if not path.name.endswith(PROVENANCE):
            top, _, inner = name.partition("/")
            kinds[top if top == "data" else inner.split("/")[0], path.suffix, kind_of(path)].append(path)
    swaps, alone = 0, set()
    for (_, _, kind), members in kinds.items():
        one = members[0]
        other = next((path for path in members if path.read_bytes() != one.read_bytes()), None)
        if other is None:
            alone.add(one)
            continue
        records = [record_of(path) for path in (one, other)]
        for together in (False, True):
            if together and records[0] == records[1]:
                continue  # one job made both
            with changed(one, other, *set(records)):
                exchange(one, other)
                if together:
                    exchange(*records)
                for path in (one, other):
                    assert refused(path, kind), f"nobody sees that {one} and {other} changed places"
                swaps += 1
    run = next(iter(files.values())).parents[1] / "smoke"
    assert {path.relative_to(run).as_posix() for path in alone} <= ALONE
    assert swaps > 20


def record_of(path):
    """The provenance record that lists a file."""
    found = (p for p in path.parent.glob(f"*{PROVENANCE}") if path.name in read_provenance(p)["outputs"])
    return next(found)


def test_the_command_check_reads_all_of_a_live_run(files):
    run = next(iter(files.values())).parents[1] / "smoke"
    inside = [path for path in files.values() if run in path.parents and not path.name.endswith(PROVENANCE)]
    assert check_archive(run) == len(inside)
    with changed(path := run / "figures/figure2_robustness.pdf"):
        path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(ArtifactError, match=r"figure2_robustness\.pdf: "):
            check_archive(run)
