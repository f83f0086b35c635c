"""A dataset is its function, the code behind it, its folder and what lies there; not its short name."""

import os

import numpy as np
import pytest
from helpers_science import patch_dataset

from jacobian_ensembles.config.reading import read_config
from jacobian_ensembles.extensions.origin import dataset_origin, folder_digest, place_token
from jacobian_ensembles.runs.layout import Layout
from jacobian_ensembles.stages.obtaining import obtain_dataset
from jacobian_ensembles.storage.files import load_tensors

FUNCTION = """
import numpy as np
from pathlib import Path
from settings_of_mine import SCALE
def patches(local_dir):
    with np.load(Path(local_dir) / "arrays.npz") as arrays:
        return {{name: a // SCALE if "images" in name else a for name, a in arrays.items()}}
{more}
"""


def fill(folder, seed):
    folder.mkdir(exist_ok=True)
    arrays = {}
    for part, count in (("train", 60), ("test", 20)):
        images, labels = patch_dataset(count, seed)
        arrays |= {f"{part}_images": (255 * images[:, 0]).byte().numpy(), f"{part}_labels": labels.numpy()}
    np.savez(folder / "arrays.npz", **arrays)
    return arrays["train_images"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*__import__("sys").path])
    (tmp_path / "own.py").write_text(FUNCTION.format(more=""))
    (tmp_path / "settings_of_mine.py").write_text("SCALE = 1\n")
    yield tmp_path
    __import__("sys").modules.pop("settings_of_mine", None)


def stored(*settings, reference="own.py:patches"):
    cell = {"datasets": [reference], "ensembles": ["voting"], "members": [1], "lambdas": [0]}
    cfg = read_config([], list(settings), cell)
    path = obtain_dataset(reference, cfg.run.results, cfg.data.local_dir, cfg.run.name)
    tensors, spec = load_tensors(path, "dataset")
    return path, tensors["train_images"], spec


def test_another_folder_is_another_dataset_and_the_same_one_is_imported_once(here):
    a, b = fill(here / "A", 1), fill(here / "B", 2)
    path_a, images_a, spec = stored("data.local_dir=A")
    path_b, images_b, _ = stored("data.local_dir=B")
    assert (images_a == a).all()
    assert (images_b == b).all()
    assert path_a != path_b
    assert spec["origin"]["local_dir"] == str(here / "A")
    assert spec["origin"]["reference"] == f"{here / 'own.py'}:patches"
    before = path_a.stat().st_mtime_ns
    assert (stored("data.local_dir=A")[1] == a).all()
    assert (stored(f"data.local_dir={here}/B/../A/")[1] == a).all()
    assert path_a.stat().st_mtime_ns == before


def test_another_file_with_a_function_of_the_same_name_is_another_dataset(here):
    fill(here / "A", 1)
    (here / "more").mkdir()
    (here / "more/other.py").write_text("import own_of_other\ndef patches(d): return own_of_other.patches(d)")
    (here / "more/own_of_other.py").write_text(
        FUNCTION.format(more="").replace("from settings_of_mine import SCALE", "SCALE = 5")
    )
    first = stored("data.local_dir=A")
    second = stored("data.local_dir=A", reference="more/other.py:patches")
    assert first[0] != second[0]
    assert (first[1] // 5 == second[1]).all()


@pytest.mark.parametrize("edit", ["images", "function", "neighbour"])
def test_what_was_edited_is_imported_anew(here, edit):
    import sys

    from jacobian_ensembles.extensions import code_digest
    from jacobian_ensembles.extensions import references as extensions

    fill(here / "A", 1)
    path, before, _ = stored("data.local_dir=A")
    if edit == "images":
        fill(here / "A", 3)
    elif edit == "function":
        (here / "own.py").write_text(FUNCTION.format(more="").replace("// SCALE", "// 2"))
    else:
        (here / "settings_of_mine.py").write_text("SCALE = 2  \n")
        __import__("importlib").invalidate_caches()
    # another command is another process
    sys.modules.pop("settings_of_mine", None)
    extensions._module.cache_clear()
    code_digest._read.cache_clear()
    again, after, _ = stored("data.local_dir=A")
    assert again == path
    assert not np.array_equal(before, after)


def test_a_users_dataset_belongs_to_its_run_and_a_built_in_one_to_all():
    a, b = Layout("results", "a"), Layout("results", "b")
    assert a.dataset == b.dataset == "results/data/{dataset}.safetensors"
    assert a.own_dataset == "results/a/data/{dataset}.safetensors"
    assert a.own_dataset != b.own_dataset
    assert a.log(a.own_dataset) == "results/a/logs/data/{dataset}.log"


def change_nothing(folder):
    pass


def hide(folder):
    (folder / ".DS_Store").write_text("x")
    (folder / ".git").mkdir()
    (folder / ".git" / "x").write_text("x")


def add(folder):
    (folder / "b" / "new.txt").write_text("x")


def remove(folder):
    (folder / "b" / "two.txt").unlink()


def rename(folder):
    (folder / "b" / "two.txt").rename(folder / "b" / "three.txt")


def move(folder):
    (folder / "b" / "two.txt").rename(folder / "two.txt")


def rewrite(folder):
    facts = (folder / "one.txt").stat()
    (folder / "one.txt").write_text("2")
    os.utime(folder / "one.txt", ns=(facts.st_atime_ns, facts.st_mtime_ns + 1))


def behind_a_link(folder):
    (folder.parent / "linked" / "three.txt").write_text("longer")


@pytest.mark.parametrize(
    ("change", "same"),
    [(change_nothing, True), (hide, True), (add, False), (remove, False), (rename, False), (move, False),
     (rewrite, False), (behind_a_link, False)],
)  # fmt: skip
def test_a_folder_is_known_by_names_sizes_and_times(tmp_path, change, same):
    folder, linked = tmp_path / "d", tmp_path / "linked"
    (folder / "b").mkdir(parents=True)
    linked.mkdir()
    for path in (folder / "one.txt", folder / "b" / "two.txt", linked / "three.txt"):
        path.write_text("1")
    (folder / "link").symlink_to(linked, target_is_directory=True)
    (folder / "circle").symlink_to(folder, target_is_directory=True)
    (folder / "broken").symlink_to("nowhere")
    before = folder_digest(folder)
    change(folder)
    assert (folder_digest(folder) == before) == same


def test_no_folder_a_missing_one_and_a_file(tmp_path):
    assert folder_digest(None) == folder_digest(tmp_path / "nothing") == ""
    (tmp_path / "x.npz").write_text("1")
    assert folder_digest(tmp_path / "x.npz")


def test_a_token_is_of_function_and_folder_alone(here):
    (here / "A").mkdir()
    origins = [dataset_origin("own.py:patches", folder) for folder in (None, "A", "A/", "B")]
    tokens = [place_token(origin) for origin in origins]
    assert tokens[1] == tokens[2]
    assert len(set(tokens)) == 3
    (here / "A/x").touch()
    assert place_token(dataset_origin("own.py:patches", "A")) == tokens[1]
