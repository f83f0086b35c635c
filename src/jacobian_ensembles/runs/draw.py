"""Drawing a shipped run's figures and tables anew: by the workflow's own rules, from its tables."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

from jacobian_ensembles.runs.provenance import source_tree
from jacobian_ensembles.storage.files import ArtifactError


def draw(folder: str | Path) -> None:
    """Draw what the catalogue can draw from a run's tables, into its ``tables/`` and ``figures/``.

    Args:
        folder: A run: see :meth:`~jacobian_ensembles.runs.run.Run.open`.

    Raises:
        ArtifactError: If the workflow or Snakemake is not here, or drawing failed.
    """
    folder, snakefile = Path(folder).resolve(), source_tree() / "Snakefile"
    if not snakefile.is_file() or find_spec("snakemake") is None:
        raise ArtifactError(
            f"{folder}: the workflow draws it. Use this command in a clone, where Snakemake is installed: pip install "
            "-e '.[workflow]'"
        )
    with tempfile.TemporaryDirectory() as results:
        (Path(results) / "reference").mkdir()
        (Path(results) / "reference" / folder.name).symlink_to(folder)
        command = [sys.executable, "-m", "snakemake", "reference_figures", "--snakefile", str(snakefile)]
        command += ["--directory", results, "--cores", "all"]
        command += ["--config", f"run={{name: drawn, results: {results}}}"]
        environment = {**os.environ, "XDG_CACHE_HOME": results}  # Snakemake's own, at home, may be read-only
        done = subprocess.run(
            command, capture_output=True, encoding="utf-8", errors="replace", check=False, env=environment
        )
        if done.returncode:
            raise ArtifactError(f"{folder}: it could not be drawn:\n{(done.stdout + done.stderr).strip()[-2000:]}")
        for kind in ("tables", "figures"):
            drawn = Path(results) / "rebuilt" / folder.name / kind
            for path in sorted(drawn.glob("*")):
                if not path.name.endswith((".provenance.json", ".snakemake_timestamp")):
                    (folder / kind).mkdir(exist_ok=True)
                    shutil.copyfile(path, folder / kind / path.name)
