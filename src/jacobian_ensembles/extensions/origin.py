"""Where a user's dataset comes from: its function, the code behind it, the folder and what is in it."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from jacobian_ensembles.extensions.code_digest import extension_digest
from jacobian_ensembles.extensions.references import folder_of, short_name, source_file


def folder_digest(folder: str | Path | None) -> str:
    """A digest of the names, sizes and times of all files in a folder, links followed; empty for None or no folder.

    Hidden files and folders do not count. Contents are not read: a copy with other times counts as different.

    Args:
        folder: The folder, or a single file.

    Returns:
        16 hexadecimal digits, or an empty string.
    """
    if folder is None or not Path(folder).exists():
        return ""
    lines, seen = [], set()
    files = [(str(folder), "")] if Path(folder).is_file() else []
    for at, inner, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(at)
        inner[:] = [name for name in sorted(inner) if not name.startswith(".") and real not in seen]
        seen.add(real)  # a link to a folder above it makes a loop
        files += [(os.path.join(at, name), os.path.relpath(at, folder)) for name in names if not name.startswith(".")]
    for path, below in files:
        try:
            facts = os.stat(path)
        except OSError:  # a broken link
            continue
        lines.append(f"{below}/{os.path.basename(path)} {facts.st_size} {facts.st_mtime_ns}")
    return hashlib.sha256("\n".join(sorted(lines)).encode("utf-8", "surrogateescape")).hexdigest()[:16]


def content_digest(reference: str, local_dir: str | None) -> str:
    """The :func:`folder_digest` of what a user's dataset is read from: the folder it names, or ``data.local_dir``."""
    return folder_digest(folder_of(reference) or local_dir)


def dataset_origin(reference: str, local_dir: str | None) -> dict[str, str | None]:
    """What identifies a user's dataset: two with the same origin are the same.

    Args:
        reference: The reference to its function, or the folder of images; see
            :mod:`~jacobian_ensembles.extensions.references`.
        local_dir: The folder named by ``data.local_dir``.

    Returns:
        ``reference``, with the full path of its file or folder; ``code``, its digest; ``local_dir``, resolved, where a
        function is given it; and ``content``, see :func:`content_digest`.
    """
    folder = folder_of(reference)
    function = f"{(source_file(reference) or Path()).resolve()}:{short_name(reference)}"
    return {
        "reference": function if folder is None else str(folder.resolve()),
        "code": extension_digest(reference),
        "local_dir": None if local_dir is None or folder is not None else str(Path(local_dir).resolve()),
        "content": content_digest(reference, local_dir),
    }


def place_token(origin: dict[str, str | None]) -> str:
    """Eight hexadecimal digits that tell the function and the folder of an origin from all others."""
    return hashlib.sha256(f"{origin['reference']}\n{origin['local_dir']}".encode("utf-8", "replace")).hexdigest()[:8]
