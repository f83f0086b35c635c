"""Folders of images as people have them: read rightly, or refused with the name of what is wrong."""

import logging
import os
import unicodedata

import numpy as np
import PIL
import pytest
from packaging.version import Version
from PIL import Image

from jacobian_ensembles.data.arrays import DataError, check_arrays
from jacobian_ensembles.data.folders import read_image, read_image_folder

GREY = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5
RGB = np.stack([GREY, 255 - GREY, GREY // 2], -1)


def paint(folder, classes=("a", "b"), endings=("png",)):
    for part in ("train", "test"):
        for k, name in enumerate(classes):
            (folder / part / name).mkdir(parents=True)
            for i, ending in enumerate(endings * 2):
                Image.fromarray(RGB + np.uint8(k)).save(folder / part / name / f"{i}.{ending}")
    return folder


def hidden_folder(d):
    (d / "train/.ipynb_checkpoints").mkdir()
    Image.fromarray(RGB).save(d / "train/.ipynb_checkpoints/x.png")


def litter(d):
    for name in (".DS_Store", "._0.png", "Thumbs.db", "desktop.ini", ".hidden.png"):
        (d / "train/a" / name).write_bytes(b"\0\5\x16\7")
    (d / "train/__MACOSX").mkdir()
    (d / ".git").mkdir()
    (d / "README.md").write_text("about")


def links(d):
    (d / "elsewhere").mkdir()
    (d / "train/a/0.png").rename(d / "elsewhere/0.png")
    (d / "train/a/0.png").symlink_to(d / "elsewhere/0.png")
    (d / "test/b").rename(d / "elsewhere/b")
    (d / "test/b").symlink_to(d / "elsewhere/b", target_is_directory=True)


def capitals(d):
    (d / "train/a/0.png").rename(d / "train/a/0.PNG")


@pytest.mark.parametrize("change", [lambda d: None, hidden_folder, litter, links, capitals])
def test_what_does_not_count_is_skipped(tmp_path, change):
    d = paint(tmp_path / "d")
    change(d)
    found = read_image_folder(d)
    assert found["train_images"].shape == (4, 6, 8, 3)
    assert (found["train_images"][0] == RGB).all()
    assert found["train_labels"].tolist() == found["test_labels"].tolist() == [0, 0, 1, 1]
    check_arrays("d", found)


def accents(d):
    for part, form in (("train", "NFC"), ("test", "NFD")):
        (d / part / "a").rename(d / part / unicodedata.normalize(form, "é"))


def test_names_that_look_alike_are_one_class(tmp_path):
    d = paint(tmp_path / "d")
    accents(d)
    found = read_image_folder(d)
    assert (found["train_images"] == found["test_images"]).all()
    os.mkdir(d / "train" / unicodedata.normalize("NFD", "é"))
    with pytest.raises(DataError, match="two folders are called é"):
        read_image_folder(d)


def test_another_folder_beside_is_said_to_be_left_out(tmp_path, caplog):
    d = paint(tmp_path / "d")
    (d / "val").mkdir()
    with caplog.at_level(logging.WARNING):
        read_image_folder(d)
    assert "left out, as only train/ and test/ are read: val" in caplog.text


def truncate(path):
    path.write_bytes(path.read_bytes()[:-60])


def pages(path):
    image = Image.fromarray(RGB)
    image.save(path, save_all=True, append_images=[Image.fromarray(255 - RGB)])


def floats(path):
    Image.fromarray(GREY.astype(np.float32) / 255).save(path)


def ints(path):
    Image.fromarray(GREY.astype(np.int32) * 1000).save(path)


FAULTS = {
    "no-ending": (
        lambda d: (d / "train/a/0.png").rename(d / "train/a/0"),
        r"train/a: no image by its ending: 0\. Take",
    ),
    "text": (lambda d: (d / "train/a/notes.txt").write_text("x"), "no image by its ending: notes.txt"),
    "array": (lambda d: np.save(d / "test/b/x.npy", RGB), "test/b: no image by its ending: x.npy"),
    "many": (
        lambda d: [(d / f"train/a/{i}.csv").touch() for i in range(9)],
        "0.csv, 1.csv, 2.csv, 3.csv, 4.csv and 4 more",
    ),
    "sub-folder": (lambda d: (d / "train/a/more").mkdir(), "train/a: a folder inside a class: more"),
    "loose-image": (lambda d: (d / "train/0.png").touch(), "train: not a class folder: 0.png"),
    "loose-table": (lambda d: (d / "test/labels.csv").touch(), "test: not a class folder: labels.csv"),
    "empty-class": (lambda d: [(d / p / "c").mkdir() for p in ("train", "test")], "train/c: no image in it"),
    "hidden-only": (
        lambda d: [p.rename(p.with_name(f".{p.name}")) for p in (d / "test/a").iterdir()],
        "test/a: no image",
    ),
    "test-only": (lambda d: (d / "test/c").mkdir(), "train/ has no class c, which test/ has"),
    "train-only": (lambda d: (d / "train/c").mkdir(), "test/ has no class c, which train/ has"),
    "case": (lambda d: (d / "test/a").rename(d / "test/A"), "train/ has no class A.*; test/ has no class a"),
    "blank": (lambda d: (d / "test/a").rename(d / "test/a "), "test/ has no class a"),
    "no-test": (lambda d: (d / "test").rename(d / "val"), r"no folder test/<class>/ in it \(there is train, val\)"),
    "capital": (
        lambda d: (d / "train").rename(d / "Train"),
        r"no folder train/<class>/ in it \(there is Train, test\)",
    ),
    "truncated": (lambda d: truncate(d / "train/a/0.png"), "train/a/0.png: cannot be read as an image"),
    "empty-file": (lambda d: (d / "train/b/1.png").write_bytes(b""), "train/b/1.png: cannot be read as an image"),
    "web-page": (lambda d: (d / "train/b/1.png").write_text("<html>"), "train/b/1.png: cannot be read as an image"),
    "broken-link": (lambda d: (d / "train/a/9.png").symlink_to("nowhere.png"), "no file, or a broken link: 9.png"),
    "link-to-itself": (lambda d: (d / "train/a/9.png").symlink_to("9.png"), "no file, or a broken link: 9.png"),
    "size": (
        lambda d: Image.fromarray(RGB[1:]).save(d / "test/b/1.png"),
        r"test/b/1.png: images of one size .* \(5, 8\) here",
    ),
    "pages": (lambda d: pages(d / "train/a/9.tif"), "9.tif: it holds 2 images"),
    "animation": (lambda d: pages(d / "train/a/9.gif"), "9.gif: it holds 2 images"),
    "floats": (lambda d: floats(d / "train/a/9.tif"), "9.tif: pixels of format F"),
    "ints": (lambda d: ints(d / "train/a/9.tif"), "9.tif: pixels of format I,"),
    "nothing": (
        lambda d: [p.rename(d / f"x{p.name}") for p in list(d.iterdir())],
        "no folder train/<class>/ and test/<class>/",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_does_not_belong_is_refused_by_name(tmp_path, fault):
    d = paint(tmp_path / "d")
    change, message = FAULTS[fault]
    change(d)
    with pytest.raises(DataError, match=message):
        read_image_folder(d)


def test_a_missing_folder_and_a_file_are_refused(tmp_path):
    with pytest.raises(DataError, match="nothing: no such folder"):
        read_image_folder(tmp_path / "nothing")
    (tmp_path / "images.zip").touch()
    with pytest.raises(DataError, match=r"images.zip: no such folder"):
        read_image_folder(tmp_path / "images.zip")
    with pytest.raises(ValueError, match="mode must be 'RGB', 'L' or 'auto'"):
        read_image_folder(tmp_path, "RGBA")


def test_a_name_of_strange_bytes_can_be_said(tmp_path):
    d = paint(tmp_path / "d")
    try:
        os.mkdir(os.fsencode(d / "train") + b"/\xff\xfe")
    except OSError:
        pytest.skip("this file system has no such names")
    with pytest.raises(DataError, match="has no class") as error:
        read_image_folder(d)
    str(error.value).encode()


def over_white(alpha, ink):
    return np.round(255 + (ink.astype(float) - 255) * alpha / 255)


def saved(path, image, **options):
    image.save(path, **options)
    return path


PALETTE = Image.fromarray(RGB).quantize(16)
ALPHA = np.linspace(0, 255, 48).astype(np.uint8).reshape(6, 8)


@pytest.mark.parametrize(
    ("image", "name", "expected", "within"),
    [
        (Image.fromarray(GREY), "x.png", np.stack([GREY] * 3, -1), 0),
        (Image.fromarray(GREY), "x.pgm", np.stack([GREY] * 3, -1), 0),
        (Image.fromarray(GREY > 100), "x.png", np.stack([255 * (GREY > 100)] * 3, -1), 0),
        (Image.fromarray(GREY > 100), "x.pbm", np.stack([255 * (GREY > 100)] * 3, -1), 0),
        (Image.fromarray(RGB), "x.bmp", RGB, 0),
        (Image.fromarray(RGB), "x.webp", RGB, 60),
        (PALETTE, "x.png", np.asarray(PALETTE.convert("RGB")), 0),
        (PALETTE, "x.gif", np.asarray(PALETTE.convert("RGB")), 0),
        (Image.fromarray(GREY.astype(np.uint16) * 257), "x.png", np.stack([GREY] * 3, -1), 0),
        (Image.fromarray(GREY.astype(np.uint16) * 257), "x.tif", np.stack([GREY] * 3, -1), 0),
        (Image.fromarray(np.dstack([RGB, ALPHA])), "x.png", over_white(ALPHA[..., None], RGB), 1),
        (Image.fromarray(np.dstack([RGB, ALPHA])), "x.tif", over_white(ALPHA[..., None], RGB), 1),
        (Image.fromarray(np.dstack([GREY, ALPHA])), "x.png", np.stack([over_white(ALPHA, GREY)] * 3, -1), 1),
        (Image.fromarray(RGB).convert("CMYK"), "x.tif", RGB, 1),
        pytest.param(
            *(Image.fromarray(RGB).convert("YCbCr"), "x.tif", RGB, 3),
            marks=pytest.mark.skipif(Version(PIL.__version__) < Version("13"), reason="cannot read its own file"),
        ),
    ],
    ids=[
        "L",
        "pgm",
        "1",
        "pbm",
        "RGB",
        "webp",
        "P",
        "gif",
        "I;16 png",
        "I;16 tif",
        "RGBA",
        "RGBA tif",
        "LA",
        "CMYK",
        "YCbCr",
    ],
)
def test_pixels_of_every_format_are_scaled_rightly(tmp_path, image, name, expected, within):
    pixels = read_image(saved(tmp_path / name, image))
    assert (pixels.shape, pixels.dtype) == ((6, 8, 3), np.uint8)
    assert np.abs(pixels.astype(int) - expected).max() <= within
    grey = read_image(tmp_path / name, "L")
    assert grey.shape == (6, 8)
    luminance = expected @ [0.299, 0.587, 0.114]
    assert np.abs(grey - luminance).max() <= within + 1


@pytest.mark.parametrize("kind", ["L", "RGB", "P", "1"])
def test_a_transparent_colour_becomes_white(tmp_path, kind):
    image = {
        "L": Image.fromarray(GREY),
        "RGB": Image.fromarray(RGB),
        "P": Image.new("P", (8, 6)),
        "1": Image.new("1", (8, 6)),
    }
    colour = {"L": int(GREY[0, 0]), "RGB": tuple(map(int, RGB[0, 0])), "P": 0, "1": 0}[kind]
    path = saved(tmp_path / "x.png", image[kind], transparency=colour)
    assert read_image(path)[0, 0].tolist() == [255, 255, 255]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photographs_are_turned_as_their_camera_says(tmp_path, orientation):
    upright = np.zeros((16, 16, 3), np.uint8)
    upright[:8, :8] = 255
    undo = [
        None,
        lambda a: a,
        np.fliplr,
        lambda a: np.rot90(a, 2),
        np.flipud,
        lambda a: a.transpose(1, 0, 2),
        lambda a: np.rot90(a, 1),
        lambda a: np.rot90(np.fliplr(a), -1),
        lambda a: np.rot90(a, -1),
    ][orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path / "x.jpg", Image.fromarray(np.ascontiguousarray(undo(upright))), exif=exif, quality=100)
    assert np.abs(read_image(path).astype(int) - upright).max() < 10


def dataset(shape, **changes):
    n = 6
    made = {f"{part}_images": np.zeros((n, *shape), np.uint8) for part in ("train", "test")}
    return made | {f"{part}_labels": np.arange(n) % 3 for part in ("train", "test")} | changes


@pytest.mark.parametrize(
    "shape", [(3, 28, 28), (3, 96, 96), (1, 28, 28), (3, 20, 24), (4, 8, 8), (2, 8, 9), (12, 32, 32)]
)
def test_channels_first_are_refused(shape):
    with pytest.raises(
        DataError, match=r"have their channels first; move channels last, by np.moveaxis\(images, 1, -1\)"
    ):
        check_arrays("mine", dataset(shape))


@pytest.mark.parametrize(
    "shape", [(28, 28), (28, 28, 3), (20, 24, 1), (3, 3, 3), (4, 4, 4), (2, 2), (1, 7), (3, 8, 3), (9, 9, 12)]
)
def test_channels_last_are_taken(shape):
    check_arrays("mine", dataset(shape))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_images": np.zeros((6, 4, 4))}, "scale floats to 0..255 and round them"),
        ({"train_images": [[1], [1, 2]]}, "train_images cannot be made an array"),
        (
            {"train_images": np.zeros((0, 4, 4), np.uint8), "train_labels": np.zeros(0, int)},
            "train_images must be uint8",
        ),
        ({"train_images": np.zeros((6, 16), np.uint8)}, "train_images must be uint8 of shape"),
        ({"train_images": np.uint8(3)}, r"got uint8 \(\)"),
        ({"train_images": None}, "got object"),
        ({"train_labels": np.arange(6) % 3 + 1}, "got 1 to 3, without 0"),
        ({"train_labels": np.eye(6, 3, dtype=int)}, r"train_labels must be 6 integers, got int64 \(6, 3\)"),
        ({"train_labels": np.zeros(6, int)}, "2 <= C <= 256; got 0 to 0"),
        ({"train_labels": np.array([0, 1, 2, 0, 1, 10**9])}, "got 0 to 1000000000, without 3"),
        ({"train_labels": np.array([-1, 0, 1, 2, 0, 1])}, "got -1 to 2"),
        ({"train_labels": list("abcabc")}, "must be 6 integers"),
        ({"test_labels": np.arange(6) % 3 - 1}, "a test label occurs that no training image has"),
    ],
)
def test_arrays_that_are_no_dataset_are_refused(changes, message):
    with pytest.raises(DataError, match=message):
        check_arrays("mine", dataset((4, 4), **changes))


@pytest.mark.parametrize(
    ("classes", "order"),
    [(("10", "9", "0"), ["0", "9", "10"]), (("b", "10", "9"), ["10", "9", "b"]), (("007", "12"), ["007", "12"])],
)
def test_classes_are_named_by_their_folders_and_numbers_are_in_order(tmp_path, classes, order):
    assert read_image_folder(paint(tmp_path, classes))["class_names"] == order
