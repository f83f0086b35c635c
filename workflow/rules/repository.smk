# Where this repository lies. A module that is fetched from a hosting service (module: snakefile: github(...)) comes file by
# file, and only what rules name; but this workflow is a package, too, so its whole commit is unpacked first.
import io
import os
import shutil
import tarfile
import tempfile

from snakemake.exceptions import WorkflowError

PARTS = ["Snakefile", "config.yaml", "environment.yml", "pyproject.toml"]
PARTS += ["README.md", "LICENSE", "src", "profiles", "workflow"]


def repository_of(source):
    """The folder above workflow/: where it lies, or a copy of the commit that Snakemake fetched it from."""
    if isinstance(source, os.PathLike):
        return Path(source).absolute().parent
    if not hasattr(source, "hosted_repo"):
        raise WorkflowError(
            f"{source}: this Snakemake cannot lay out a repository that it fetches. Clone it, and name the clone's Snakefile."
        )
    repository = source.hosted_repo.repo
    commit = repository.commit(source.ref).hexsha
    folder = Path(".snakemake/jacobian-ensembles").absolute() / commit
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        content = io.BytesIO()
        repository.archive(content, commit, path=PARTS, format="tar")
        content.seek(0)
        temporary = tempfile.mkdtemp(dir=folder.parent)
        with tarfile.open(fileobj=content) as archive:
            archive.extractall(temporary, filter="data")
        try:
            os.rename(temporary, folder)
        except OSError:  # another process was faster
            shutil.rmtree(temporary)
    return folder
