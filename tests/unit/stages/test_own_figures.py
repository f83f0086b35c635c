from pathlib import Path

import pandas as pd
import pytest

from jacobian_ensembles.extensions.references import ExtensionError
from jacobian_ensembles.stages.own_figures import own_figure
from jacobian_ensembles.stages.plot_figure import plot_figure

OWN = """
from matplotlib.figure import Figure

def mine(tables, confidence):
    \"\"\"What I
    want.

    Not more.\"\"\"
    raise RuntimeError if tables["summary"].empty else None
    other = {"jacobian": 1}

def drawn(tables):
    fig = Figure()
    fig.subplots().plot(tables["metrics"]["eps"], tables["metrics"]["worst_accuracy"])
    return fig
"""


@pytest.fixture
def own(tmp_path):
    path = tmp_path / "own.py"
    path.write_text(OWN)
    return path


def test_a_figure_says_itself_what_it_needs(own):
    item = own_figure(f"{own}:mine")
    assert (item.name, item.inputs, item.settings) == ("mine", ("summary",), ("confidence",))
    assert (item.caption, item.kinds) == ("What I want.", ("pdf", "png", "txt"))


@pytest.mark.parametrize("name", ["table1", "nothing"])
def test_what_is_taken_or_missing_is_refused(own, name):
    with pytest.raises(ExtensionError, match=r"figures.own: got .*own.py:"):
        own_figure(f"{own}:{name}")


def test_it_is_drawn_with_its_caption(own, tmp_path):
    keys = {"dataset": "mnist", "ensemble": "voting", "members": 1, "lambda": 0.0, "seeds": 3}
    pd.DataFrame([{**keys, "eps": e, "worst_accuracy": 1 - e} for e in (0.1, 0.2)]).to_csv(
        tmp_path / "m.csv", index=False
    )
    files = [tmp_path / f"f.{kind}" for kind in ("pdf", "png", "txt")]
    inputs: dict[str, str | Path] = {"metrics": tmp_path / "m.csv"}
    plot_figure("drawn", inputs, *files, run="r", banner="", settings={}, own=f"{own}:drawn")
    assert files[1].read_bytes()[1:4] == b"PNG"
    assert files[2].read_text().startswith("drawn Run 'r', 3 attack seeds.")
