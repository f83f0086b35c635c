"""Every figure of the catalogue: fit for a paper, and the same whatever the environment says."""

import json
import os
import subprocess
import sys
from pathlib import Path

import matplotlib as mpl
import pytest
from helpers_figures import SETTINGS, tables
from matplotlib.text import Text

from jacobian_ensembles.extensions.references import resolve
from jacobian_ensembles.paper.catalogue import FIGURES, find
from jacobian_ensembles.paper.labels import mark_of
from jacobian_ensembles.paper.style import COLUMN, PAGE, drawing, picture
from jacobian_ensembles.stages.plot_figure import plot_figure

NAMES = [item.name for item in FIGURES]


def figure(name, found):
    item = find(name)
    chosen = {source: found[source] for source in item.inputs}
    return resolve(item.function, {})(chosen, **{key: SETTINGS[key] for key in item.settings})


def draw(folder, name, found, banner=""):
    """The files of a figure, by their kind."""
    folder.mkdir(parents=True, exist_ok=True)
    item = find(name)
    inputs = {source: folder / f"{source}.csv" for source in item.inputs}
    for source, path in inputs.items():
        found[source].to_csv(path, index=False)
    files = {kind: folder / f"{name}.{kind}" for kind in item.kinds}
    chosen = {key: SETTINGS[key] for key in item.settings}
    plot_figure(name, inputs, *files.values(), run="mine", banner=banner, settings=chosen)
    return {kind: path.read_bytes() for kind, path in files.items()}


@pytest.fixture(scope="module")
def drawn():
    """Each figure, of two datasets and of one."""
    return {(name, count): figure(name, tables(count)) for name in NAMES for count in (1, 2)}


@pytest.mark.parametrize("datasets", [1, 2])
@pytest.mark.parametrize("name", NAMES)
def test_figures_have_the_widths_and_the_letters_of_a_paper(drawn, name, datasets):
    fig = drawn[name, datasets]
    assert fig.get_figwidth() in (COLUMN, PAGE)
    assert fig.get_figheight() < 10
    fig.draw_without_rendering()
    texts = [text for text in fig.findobj(Text) if text.get_text() and text.get_visible()]
    assert {text.get_fontsize() for text in texts} <= {7, 8, 9}
    drawn_in = fig.get_tightbbox()  # inches: nothing is cut off
    assert min(drawn_in.x0, drawn_in.y0) >= -0.01
    assert drawn_in.x1 <= fig.get_figwidth() + 0.01
    assert drawn_in.y1 <= fig.get_figheight() + 0.01


@pytest.mark.parametrize("name", NAMES)
def test_fonts_are_embedded_as_truetype(drawn, name):
    pdf = picture(drawn[name, 2], "pdf")
    assert b"/Type3" not in pdf
    assert b"/CIDFontType2" in pdf
    assert b"/FontFile2" in pdf


def test_a_figure_has_few_words_of_the_banner_and_its_caption_the_rest(tmp_path, monkeypatch):
    marks = []
    monkeypatch.setattr("jacobian_ensembles.stages.plot_figure.add_mark", lambda fig, mark: marks.append(mark))
    banner = "QUICK RUN, not the paper's result; costs $5 and $6"
    caption = draw(tmp_path, "figure2_robustness", tables(2), banner)["txt"].decode()
    assert marks == ["QUICK RUN"]
    assert caption == (
        f"{find('figure2_robustness').caption} {banner}: run 'mine', worst of 3 attack seeds, 2 eps values, "
        "10,000 test images.\n"
    )


@pytest.mark.parametrize(
    ("banner", "mark"),
    [
        ("", ""),
        ("QUICK RUN, not the paper's result", "QUICK RUN"),
        ("SMOKE TEST, numbers without meaning", "SMOKE TEST"),
        ("5 attack seeds, not 50", "not the paper's whole experiment"),
        ("A" * 200, "not the paper's whole experiment"),
    ],
)
def test_the_mark_is_short(banner, mark):
    assert mark_of(banner) == mark


@pytest.mark.parametrize("banner", ["costs $5 AND $6", "A $$ B", "GAIN OF $\\frac{A$ POINTS", "$A$", "\\$A\\$"])
def test_dollars_of_a_banner_are_no_mathematics(tmp_path, banner):
    assert banner in draw(tmp_path, "figure1_clean_accuracy", tables(1), banner)["txt"].decode()


@pytest.mark.parametrize("name", NAMES)
def test_hostile_names_are_drawn(name):
    found = {
        source: table.replace({"mnist": "my$_data$set", "voting": r"$\frac{half", "default": "a$b$c_d"})
        for source, table in tables(2).items()
    }
    assert picture(figure(name, found), "png").startswith(b"\x89PNG")


def test_drawing_leaves_the_users_own_settings_alone():
    with mpl.rc_context({"font.size": 31, "text.usetex": True, "pdf.fonttype": 3}):
        with drawing():
            assert mpl.rcParams["font.size"] == 8
            assert not mpl.rcParams["text.usetex"]
        assert mpl.rcParams["font.size"] == 31
        assert mpl.rcParams["pdf.fonttype"] == 3


HOSTILE_RC = """
text.usetex: True
font.family: cursive
font.size: 30
axes.facecolor: black
axes.formatter.use_mathtext: True
savefig.bbox: tight
savefig.dpi: 50
savefig.transparent: True
pdf.fonttype: 3
pdf.compression: 0
lines.linewidth: 9
path.sketch: 3, 100, 2
figure.constrained_layout.use: True
figure.figsize: 1, 1
interactive: True
timezone: Asia/Tokyo
"""
DRAW = """
import hashlib, json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import jacobian_ensembles
import test_plot_figure as here
own = here.find("figure1_clean_accuracy")
object.__setattr__(own, "function", "pyplot_figure.py:own")
found = {}
for name in ["figure1_clean_accuracy", "figure3_tradeoff", "theory"]:
    files = here.draw(Path("out"), name, here.tables(2), "QUICK RUN, costs $5 and $6")
    found[name] = {kind: hashlib.sha256(content).hexdigest() for kind, content in files.items()}
print(json.dumps(found))
"""
OWN = """
from matplotlib import pyplot as plt

def own(tables, **settings):
    fig, ax = plt.subplots(layout="constrained")
    ax.plot([0, 1], [10_000.5, 20_000.5])
    return fig
"""


def in_environment(folder, **environment):
    """What figures, one of them a user's by pyplot, are like in a process of their own."""
    folder.mkdir()
    (folder / "pyplot_figure.py").write_text(OWN)
    if environment:
        use_locale = "axes.formatter.use_locale: True\n" if environment["LC_ALL"] == "C" else ""
        (folder / "matplotlibrc").write_text(HOSTILE_RC + use_locale)
    unset = {"MPLBACKEND", "MATPLOTLIBRC", "TZ", "LC_ALL", "LANG", "PYTHONHASHSEED"}
    kept = {key: value for key, value in os.environ.items() if key not in unset}
    unit = Path(__file__).parents[1]
    kept["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", DRAW, str(unit)], cwd=folder, env=kept | environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_the_environment_changes_no_byte(tmp_path):
    plain = in_environment(tmp_path / "plain")
    for i, environment in enumerate(
        [
            {"MPLBACKEND": "module://matplotlib_inline.backend_inline", "TZ": "Pacific/Chatham", "LC_ALL": "C",
             "PYTHONHASHSEED": "7"},
            {"MPLBACKEND": "TkAgg", "LC_ALL": "de_DE.UTF-8", "PYTHONHASHSEED": "1234", "SOURCE_DATE_EPOCH": "1"},
        ]
    ):  # fmt: skip
        assert in_environment(tmp_path / str(i), **environment) == plain
    assert len({json.dumps(files) for files in plain.values()}) == 3


@pytest.mark.parametrize("place", ["here", "MATPLOTLIBRC", "MPLCONFIGDIR"])
def test_settings_that_matplotlib_cannot_read_are_named_in_one_line(tmp_path, place):
    (tmp_path / "settings").mkdir()
    file = tmp_path / ("matplotlibrc" if place == "here" else "settings/matplotlibrc")
    file.write_bytes("font.size: 9  # größer\n".encode("latin-1"))
    program = """
try:
    from jacobian_ensembles.stages import plot_figure
except Exception as error:
    from jacobian_ensembles.extensions.failures import one_line
    print(one_line(error))
"""
    environment = os.environ | ({} if place == "here" else {place: str(tmp_path / "settings")})
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("UnicodeDecodeError: 'utf-8' codec")
    assert done.stdout.endswith(f"(in {file}; save it as UTF-8, or remove it)\n")
