"""Draw docs/images/page.png, the top of the shipped grid's page, as a browser shows it.

    python docs/page_image.py [FILE]

It needs chromium.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from jacobian_ensembles.stages.write_report import write_report

ROOT = Path(__file__).resolve().parents[1]
SIZE = (1024, 1400)  # pixels


def draw(path: Path) -> None:
    """Write the picture.

    Args:
        path: A PNG.

    Raises:
        FileNotFoundError: If there is no chromium.
    """
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        raise FileNotFoundError("chromium is not installed. Debian: apt-get install chromium")
    with tempfile.TemporaryDirectory() as folder:
        page, shot = Path(folder) / "page.html", Path(folder) / "page.png"
        write_report(ROOT / "results" / "reference" / "grid", page)
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run"]
        options += ["--disable-background-networking", f"--user-data-dir={folder}/profile"]
        options += [f"--window-size={SIZE[0]},{SIZE[1]}", f"--screenshot={shot}", page.as_uri()]
        subprocess.run([browser, *options], check=True, capture_output=True, timeout=120)
        # 256 colours do for text, a quarter of the bytes
        Image.open(shot).convert("RGB").quantize(256).save(path, optimize=True)


if __name__ == "__main__":
    draw(Path(sys.argv[1]) if sys.argv[1:] else ROOT / "docs" / "images" / "page.png")
