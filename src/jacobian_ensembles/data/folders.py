"""A user's own datasets: folders of images."""

from __future__ import annotations

import logging
import os
import re
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jacobian_ensembles.data.arrays import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

log = logging.getLogger(__name__)
#: Endings of image files, in any case.
ENDINGS = (".bmp", ".gif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp")
_LITTER = ("thumbs.db", "desktop.ini", "__macosx")  # what systems leave in folders, besides hidden files
_PLAIN = ("1", "L", "RGB", "P", "CMYK", "YCbCr", "HSV")
_NUMBER = re.compile(r"[0-9]{1,9}").fullmatch
_TRANSPARENT = ("LA", "La", "PA", "RGBA", "RGBa")


def read_image_folder(folder: str | Path, mode: str = "RGB") -> dict[str, Any]:
    """Read a dataset from image files: ``<folder>/train/<class>/*`` and ``<folder>/test/<class>/*``.

    Hidden files and folders are skipped, links followed. Pixels of every format become bytes: 16 bits are scaled to 8,
    transparency is laid over white, and a photograph is turned as its EXIF orientation says.

    Args:
        folder: The folder. Its classes are those of ``train``, numbered in alphabetical order, or by number if all are
            numbers.
        mode: ``RGB`` for three channels, ``L`` for one (grey); ``auto`` for one if every pixel of every image is grey.

    Returns:
        Arrays and class names as :func:`~jacobian_ensembles.data.arrays.check_arrays` wants them.

    Raises:
        DataError: If a file or folder is missing, unreadable or out of place, or an image differs in size from the
            first; the message names it.
        ValueError: If ``mode`` is none of these.
    """
    if mode not in ("RGB", "L", "auto"):
        raise ValueError(f"mode must be 'RGB', 'L' or 'auto'. Got {mode!r}.")
    names, files = list_images(folder)
    out: dict[str, Any] = {"class_names": list(map(_say, names))}
    first: tuple[Path, np.ndarray] | None = None
    for part, of_part in files.items():
        images, labels = [], []
        for path, label in of_part:
            pixels = read_image(path, "L" if mode == "L" else "RGB")
            first = first or (path, pixels)
            if pixels.shape != first[1].shape:
                raise DataError(
                    f"{_say(path)}: images of one size are needed, got {pixels.shape[:2]} here and "
                    f"{first[1].shape[:2]} in {_say(first[0])} (height, width). Resize or crop them."
                )
            images.append(pixels)
            labels.append(label)
        out |= {f"{part}_images": np.stack(images), f"{part}_labels": np.array(labels)}
    stacks = [f"{part}_images" for part in ("train", "test")]
    if mode == "auto" and all((out[name] == out[name][..., :1]).all() for name in stacks):
        out |= {name: out[name][..., 0] for name in stacks}
    return out


def shape_of_first(folder: str | Path) -> tuple[int, int, int]:
    """The (channels, height, width) of the first image of a dataset; one channel if it is grey.

    Raises:
        DataError: See :func:`list_images`.
    """
    _, files = list_images(folder)
    pixels = read_image(files["train"][0][0])
    return 1 if (pixels == pixels[..., :1]).all() else 3, *pixels.shape[:2]


def list_images(folder: str | Path) -> tuple[list[str], dict[str, list[tuple[Path, int]]]]:
    """The classes of a dataset, and the image files of its ``train`` and ``test`` with their labels, none opened.

    Raises:
        DataError: If a file or folder is missing or out of place; the message names it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{_say(folder)}: no such folder. Images belong in train/<class>/ and test/<class>/ of one.")
    parts = {path.name: path for path in _entries(folder) if path.is_dir()}
    if missing := {"train", "test"} - parts.keys():
        got = f" (there is {', '.join(map(_say, parts))})" if parts else ""
        needed = " and ".join(f"{part}/<class>/" for part in sorted(missing, reverse=True))
        raise DataError(
            f"{_say(folder)}: no folder {needed} in it{got}. Images belong in train/<class>/ and test/<class>/."
        )
    if extra := sorted(parts.keys() - {"train", "test"}):
        log.warning("%s: left out, as only train/ and test/ are read: %s", _say(folder), ", ".join(map(_say, extra)))
    classes = {part: _classes(parts[part]) for part in ("train", "test")}
    problems = [
        f"{part}/ has no class {', '.join(map(_say, sorted(lacking)))}, which {other}/ has"
        for part, other in (("train", "test"), ("test", "train"))
        if (lacking := classes[other].keys() - classes[part].keys())
    ]
    if problems:
        raise DataError(f"{_say(folder)}: {'; '.join(problems)}. Give both the same classes, spelled alike.")
    names = sorted(classes["train"], key=int) if all(map(_NUMBER, classes["train"])) else sorted(classes["train"])
    return names, {
        part: [(path, label) for label, name in enumerate(names) for path in _files(classes[part][name])]
        for part in ("train", "test")
    }


def read_image(path: str | Path, mode: str = "RGB") -> np.ndarray:
    """Read one image file as bytes.

    Args:
        path: The file.
        mode: ``RGB`` or ``L``.

    Returns:
        (height, width, 3) or (height, width), uint8.

    Raises:
        DataError: If the file is not a complete image, has several pages, or has a format whose scale is not known.
    """
    import PIL.Image
    from PIL import ImageOps

    try:
        with PIL.Image.open(path) as image:
            if (pages := getattr(image, "n_frames", 1)) > 1:
                raise DataError(f"{_say(path)}: it holds {pages} images; save each as a file of its own.")
            image.load()
            return np.asarray(_eight_bits(ImageOps.exif_transpose(image), image.format).convert(mode))
    except DataError as error:
        raise error if str(path) in str(error) else DataError(f"{_say(path)}: {error}") from None
    except (OSError, SyntaxError, ValueError, EOFError, PIL.Image.DecompressionBombError) as error:
        text = str(error).replace(f" {str(path)!r}", "")
        raise DataError(f"{_say(path)}: cannot be read as an image ({text}). Replace it or take it away.") from error


def _eight_bits(image: Image, kind: str | None) -> Image:
    """An image of 8 bits per channel without transparency."""
    import PIL.Image

    if image.mode in _TRANSPARENT or (image.mode in _PLAIN and "transparency" in image.info):
        over = image.convert("RGBA")
        return PIL.Image.alpha_composite(PIL.Image.new("RGBA", over.size, "white"), over).convert("RGB")
    if image.mode in _PLAIN:
        return image.convert("RGB") if image.mode in ("P", "CMYK", "YCbCr", "HSV") else image
    if image.mode.startswith("I;16") or (image.mode == "I" and kind in ("PNG", "PPM")):  # 0..65535
        values = np.asarray(image).astype(np.int64)
        if values.min() >= 0 and values.max() <= 65_535:
            return PIL.Image.fromarray(np.round(values / 257).astype(np.uint8))
    raise DataError(
        f"pixels of format {image.mode}, whose black and white are not known; save it with 8 bits per channel."
    )


def _say(path: str | Path) -> str:
    """A path as text that can be printed, whatever bytes its name has."""
    return os.fsencode(path).decode("utf-8", "replace")


def _entries(folder: Path) -> list[Path]:
    """What a folder holds, sorted by name, without hidden files and litter."""
    try:
        found = sorted(folder.iterdir())
    except OSError as error:
        raise DataError(f"{_say(folder)}: cannot be read ({error.strerror}).") from error
    return [path for path in found if not path.name.startswith(".") and path.name.lower() not in _LITTER]


def _refuse(folder: Path, what: str, found: list[Path], advice: str) -> None:
    if found:
        shown = ", ".join(_say(path.name) for path in found[:5]) + (f" and {len(found) - 5} more" if found[5:] else "")
        raise DataError(f"{_say(folder)}: {what} {shown}. {advice}")


def _classes(folder: Path) -> dict[str, Path]:
    """The class folders by name. Systems spell accents in two ways; names that look alike count as the same."""
    entries = _entries(folder)
    _refuse(folder, "not a class folder:", [p for p in entries if not p.is_dir()], "Move images into <class>/.")
    out: dict[str, Path] = {}
    for path in entries:
        name = unicodedata.normalize("NFC", path.name)
        if name in out:
            raise DataError(f"{_say(folder)}: two folders are called {_say(name)}. Put their images into one.")
        out[name] = path
    if not out:
        raise DataError(f"{_say(folder)}: no folder <class>/ in it. Images belong in train/<class>/ and test/<class>/.")
    return out


def _files(folder: Path) -> list[Path]:
    """The image files of a class."""
    entries = _entries(folder)
    files = [path for path in entries if path.is_file()]
    inner = [path for path in entries if path.is_dir()]
    _refuse(folder, "a folder inside a class:", inner, "Move its images up, or away.")
    _refuse(folder, "no file, or a broken link:", [p for p in entries if p not in files], "Mend it or take it away.")
    unknown = [path for path in files if path.suffix.lower() not in ENDINGS]
    _refuse(folder, "no image by its ending:", unknown, f"Take it away, or let it end in one of {', '.join(ENDINGS)}.")
    if not files:
        raise DataError(f"{_say(folder)}: no image in it. Fill it, or take the class away in train/ and test/.")
    return files
