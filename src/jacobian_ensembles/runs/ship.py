"""Shipping: the kept part of a finished run, copied byte for byte to where the repository keeps it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from jacobian_ensembles.runs.crate import METADATA, write_crate
from jacobian_ensembles.runs.run import UNLISTED, Run, kept_files
from jacobian_ensembles.storage.checksums import SUMS, verify_all, verify_checksum, write_checksums
from jacobian_ensembles.storage.files import ArtifactError


def check_target(target: str | Path, parts: Sequence[Path] = ()) -> None:
    """Refuse to write a shipped run over anything but a shipped run, before any work.

    Args:
        target: The folder to write. It may be missing, empty, or hold a shipped run and nothing else.
        parts: Runs that are read; the target may be one of them, but not hold one.

    Raises:
        ArtifactError: Saying what is in the way.
    """
    target = Path(target)
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise ArtifactError(f"{target}: it is {'a link' if target.is_symlink() else 'a file'}. Name a folder to write.")
    if not target.parent.is_dir():
        raise ArtifactError(f"{target}: there is no folder {target.parent}. Make it first.")
    for part in parts:
        if part.resolve() != target.resolve() and part.resolve().is_relative_to(target.resolve()):
            raise ArtifactError(f"{target}: it holds {part}, which is read. Name another folder to write.")
    if not target.exists():
        return
    ours = {*kept_files(target), *(target / name for name in (SUMS, METADATA))}
    for path in sorted(target.rglob("*")):
        if path.is_symlink() or (path.is_file() and path not in ours and path.name not in UNLISTED):
            raise ArtifactError(f"{path}: not part of a shipped run, which alone is replaced. Name another folder.")
    if any(target.iterdir()) and not {target / "config.yaml", target / "provenance.json"} <= ours:
        raise ArtifactError(f"{target}: no shipped run, which alone is replaced. Name another folder to write.")


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A folder beside the target that takes its place as a whole if the block succeeds; else the target stays."""
    with tempfile.TemporaryDirectory(prefix=".shipping-", dir=target.parent) as folder:
        new, old = Path(folder) / target.name, Path(folder) / "old"
        new.mkdir()
        yield new
        if target.exists():
            target.rename(old)
        try:
            new.rename(target)
        except OSError:
            if old.exists():
                old.rename(target)
            raise


def seal(folder: Path) -> None:
    """Describe a shipped run's files, list their checksums, and read every one of them once more."""
    write_crate(folder)
    write_checksums([*kept_files(folder), folder / METADATA], folder)
    verify_all(folder, UNLISTED)


def ship_run(root: str | Path, target: str | Path, files: Sequence[str | Path] | None = None) -> None:
    """Copy the kept part of a finished run, byte for byte: see :data:`~jacobian_ensembles.runs.run.KEPT`.

    Beside it are ``ro-crate-metadata.json``, which says what each file is and what made the run (see :mod:`.crate`),
    and ``SHA256SUMS``, which lists every file.

    Args:
        root: The run's folder.
        target: The folder to write. A shipped run there is replaced once the new one is complete.
        files: What to copy of the kept part, if the folder may hold what other settings left; None for all.

    Raises:
        ArtifactError: If there is no finished run, a file of it is altered, or something else than a shipped run is in
            the way.
    """
    run, target = Run.open(root), Path(target)
    check_target(target)
    wanted = None if files is None else {Path(path).resolve() for path in files}
    with replacing(target) as new:
        for path in kept_files(run.folder):
            if wanted is None or path in wanted:
                verify_checksum(path)
                inside = path.relative_to(run.folder)
                (new / inside).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, new / inside)
        seal(new)
