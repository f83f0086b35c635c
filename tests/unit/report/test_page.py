"""The page of a run, made from a small made-up run, and looked at in a real browser where there is one."""

import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from helpers_science import patch_dataset
from PIL import Image

import jacobian_ensembles
from jacobian_ensembles.config.cells import Cell
from jacobian_ensembles.models.architecture import Architecture
from jacobian_ensembles.models.building import parameter_arrays
from jacobian_ensembles.models.lenet import LeNet
from jacobian_ensembles.report.tradeoff import pareto_front, tradeoff
from jacobian_ensembles.report.work import jobs_by_rule
from jacobian_ensembles.runs.layout import Layout, cell_wildcards
from jacobian_ensembles.runs.provenance import provenance
from jacobian_ensembles.stages.aggregate_metrics import aggregate_metrics
from jacobian_ensembles.stages.describe_run import describe_run
from jacobian_ensembles.stages.gather_records import gather_records
from jacobian_ensembles.stages.keep_arrays import keep_arrays
from jacobian_ensembles.stages.predict_examples import predict_examples
from jacobian_ensembles.stages.select_worst_uap import select_worst_uap
from jacobian_ensembles.stages.write_report import write_report
from jacobian_ensembles.stages.write_table import write_table
from jacobian_ensembles.storage.files import ArtifactError, load_tensors, read_header, save_tensors, write_json
from jacobian_ensembles.storage.learners import save_learners
from jacobian_ensembles.storage.perturbations import save_clean, save_uaps

ROOT = Path(__file__).resolve().parents[3]
IMAGES, LABELS = patch_dataset(120, seed=0)
MODELS = [("voting", 1, 0.0), ("voting", 1, 0.1), ("bagging", 2, 0.0), ("bagging", 2, 0.5)]
CELLS = [
    {"dataset": d, "ensemble": e, "members": m, "lambda": lam, "repetition": 0}
    for d, models in (("mnist", MODELS), ("fashion_mnist", MODELS[:1]))  # a single point must do, too
    for e, m, lam in models
]


@pytest.fixture(scope="module", autouse=True)
def _small_datasets():
    """Datasets of this test are called like built-in ones, and are not."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jacobian_ensembles.stages.test_sets.CARDS", {})
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A live run: five models on 120 images, with accuracies that fall and rise by plan."""
    results = tmp_path_factory.mktemp("results")
    layout = Layout(str(results), "made")
    rng = np.random.default_rng(0)
    clean, worst, uaps, nets, jobs = [], [], [], [], []
    for i, cell in enumerate(CELLS):
        at = cell_wildcards(Cell.model_validate(cell)) | {"eps": "0.15"}
        labels = LABELS.numpy()
        right = rng.random(120) < 0.98 - 0.05 * (i % 4)
        clean.append(layout.clean.format(**at))
        save_clean(clean[-1], np.where(right, labels, (labels + 1) % 10), labels, cell)
        bits = right & (rng.random((2, 120)) < 0.3 + 0.2 * (i % 4))
        deltas = 0.15 * np.sign(rng.standard_normal((2, 1, 28, 28))).astype(np.float32)
        block = layout.uaps.format(**at, first=0, last=1)
        save_uaps(block, deltas, bits, 0, {**cell, "eps": 0.15})
        worst.append(layout.worst.format(**at))
        uaps.append(layout.worst_uap.format(**at))
        select_worst_uap([block], worst[-1], uaps[-1])
        learners = [LeNet(generator=torch.Generator().manual_seed(i + k)) for k in range(cell["members"])]
        spec = {key: cell[key] for key in ("dataset", "ensemble", "lambda")} | {"architecture": Architecture().record()}
        nets.append(layout.ensemble.format(**at))
        save_learners(nets[-1], parameter_arrays(learners), {**spec, "validation_accuracy": [0.9] * len(learners)})
        jobs.append(results / "made" / f"{i}.provenance.json")
        write_json(jobs[-1], provenance({"rule": "craft_uaps"}, "cpu", 1, 50.0 + i))
    settings = {"rule": "train_learner", "dataset": "mnist", "ensemble": "voting", "lambda_jr": "0.10"}
    history = [{"epoch": e, "loss": 1 / e, "seconds": 0.5} for e in (1, 2)]
    write_json(results / "made/t.provenance.json", provenance(settings, "cpu", 1, 1.0) | {"history": history})
    pixels = (255 * IMAGES[:, 0]).byte().numpy()
    for name in ("mnist", "fashion_mnist"):
        tensors = {f"{part}_images": pixels for part in ("train", "test")}
        tensors |= {f"{part}_labels": LABELS.byte().numpy() for part in ("train", "test")}
        save_tensors(layout.dataset.format(dataset=name), tensors, kind="dataset", spec={"dataset": name})
    gather_records(clean, worst, layout.records)
    aggregate_metrics(layout.records, layout.metrics, layout.summary, 0.5, 0.95)
    tables = [f"{layout.tables}/comparison.{kind}" for kind in ("csv", "md")]
    write_table("comparison", {"summary": layout.summary}, *tables, run="made", banner="MADE UP", settings={})
    datasets = [layout.dataset.format(dataset=name) for name in ("mnist", "fashion_mnist")]
    predict_examples(nets, uaps, datasets, layout.summary, layout.examples, clip=False)
    Path(layout.figures).mkdir()
    for stem in ("figure1_clean_accuracy", "figure3_tradeoff"):
        Image.new("RGB", (60, 40), "white").save(f"{layout.figures}/{stem}.png")
    run = {"name": "made", "banner": "MADE UP <&>"}
    describe_run({"run": run, "seed": 3, "a": "<b>", "figures": {"eps": 0.15}}, jobs, layout.config, layout.made)
    return results / "made"


def write(path, folder):
    write_report(folder, path)
    return path.read_text()


def copy_of(folder, tmp_path):
    """The same run, to be changed."""
    shutil.copytree(folder.parent / "data", tmp_path / "data")
    return Path(shutil.copytree(folder, tmp_path / "made"))


def write_claims(run, *rows):
    """Write claims.csv with these rows, and an effect of C1; the path of the former."""
    claims = run / "tables/claims.csv"
    claims.write_text("\n".join(["claim,statement,evidence,test,place,missing,p,verdict", *rows]) + "\n")
    (run / "tables/effects.csv").write_text(
        "claim,analysis,dataset,part,unit,needed,value,low,high\nC1,primary,mnist,MNIST,points,1,1.6,1.2,2.0\n"
    )
    return claims


@pytest.fixture(scope="module")
def page(folder, tmp_path_factory):
    return write(tmp_path_factory.mktemp("page") / "report.html", folder)


class Reader(HTMLParser):
    """Collects what a page refers to, its headings, and its images without a text in their place."""

    def __init__(self):
        super().__init__()
        self.targets, self.ids, self.bare = [], set(), []

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.targets += [attrs[key] for key in ("src", "href") if attrs.get(key)]
        self.ids.add(attrs.get("id"))
        if tag == "img" and not attrs.get("alt"):
            self.bare.append(attrs)


def read(page):
    reader = Reader()
    reader.feed(page)
    return reader


def test_the_page_needs_no_other_file_and_every_image_has_a_text(page):
    reader = read(page)
    assert {target.partition(":")[0].partition("#")[0] for target in reader.targets} == {"", "data"}
    assert {target[1:] for target in reader.targets if target.startswith("#")} <= reader.ids
    assert not reader.bare


def test_text_from_outside_is_escaped(page):
    assert "MADE UP &lt;&amp;&gt;" in page
    assert "a: &lt;b&gt;" in page


def test_the_page_says_what_ran(page):
    assert re.search(
        r"craft_uaps</th><td class=\"n\">5</td><td class=\"n\">4 min 20 s</td><td class=\"n\">54.0 s", page
    )
    assert "cpu, 1 thread" in page
    assert re.search(r"Base seed</b></dt><dd>3", page)


def test_table1_is_beside_the_papers(page):
    table = page[page.index("Table 1, MNIST, The paper") :]
    assert re.search(r"snapshot</td><td class=\"n\">3</td><td class=\"n\">0.50</td><td class=\"n\">97.8", table)
    assert "Ensemble only" in page


def test_the_page_opens_with_what_was_found_and_with_chance(page, folder):
    summary = pd.read_csv(folder / "metrics/summary.csv").query("members == 1")
    plain, ours = (100 * row for row in summary.query("dataset == 'mnist'").mean_uap_accuracy)
    opening = page[page.index('id="claims"') : page.index('id="tradeoff"')].replace("&#39;", "'").replace("\u00a0", " ")
    assert f"accuracy under attack from {plain:.1f} to {ours:.1f} %, clean" in opening
    assert "(one training of each model). Guessing among 10 classes gives 10 %." in opening
    assert "Fashion-MNIST: voting M=1 λ=0.00, with " in opening


def test_what_is_not_the_papers_is_named(folder, tmp_path):
    run = copy_of(folder, tmp_path)
    settings = yaml.safe_load((run / "config.yaml").read_text())
    settings |= {"training": {"objective": "noise"}, "attack": {"method": "square"}}
    (run / "config.yaml").write_text(yaml.safe_dump(settings))
    page = write(tmp_path / "other.html", run).replace("&#39;", "'")
    opening = page[: page.index('id="tradeoff"')]
    assert "trained with 'noise' of strength λ" in opening
    assert "MNIST: 'noise' of strength 0.1 " in opening
    assert "under the attack 'square' from" in opening
    assert "perturbations are crafted by 'square', not by the paper's attack" in opening
    assert "JR only" not in page[: page.index("The paper</caption>")]


def test_what_was_not_computed_is_left_out(page, folder, tmp_path):
    assert 'class="claims"' not in page
    run = copy_of(folder, tmp_path)
    claims = write_claims(run, "C1,Large λ hurts,91 %,paired,,,0.01,holds")
    shutil.copy(run / "figures/figure1_clean_accuracy.png", run / "figures/claim_effects.png")
    full = write(tmp_path / "full.html", run)
    assert "Of the paper's 1 claims 1 holds." in full.replace("&#39;", "'")
    assert re.search(
        r'<li class="good"><details><summary><span class="verdict"><span aria-hidden="true">✓</span> holds</span> '
        r'<b>C1</b> Large λ hurts <span class="number">MNIST \+1.6 \[\+1.2, \+2.0\] points<',
        full,
    )
    assert full.count("<figure><button") == 3
    write_claims(run, "C1,Large λ hurts,91 %,paired,,more trainings,,cannot tell")
    untold = write(tmp_path / "untold.html", run)
    assert "Of the paper's" not in untold.replace("&#39;", "'")
    assert untold.count("<figure><button") == 2  # without the figure that no verdict rests on
    claims.write_text("claim,evidence\nC1,91 %\n")
    with pytest.raises(ArtifactError, match=r"claims\.csv: no column statement, verdict"):
        write(tmp_path / "full.html", run)


def from_the_gallery_on(page):
    """The lines of the worst perturbations and the accuracies per class, in any order of models."""
    return sorted(page[page.index('id="gallery"') : page.index('id="run"')].splitlines())


def test_the_page_shows_the_first_training_of_each_model(page, folder, tmp_path):
    """Whatever its number: runs of later trainings have no training 0; and a tenth comes after a second."""
    run = copy_of(folder, tmp_path)
    for kind in ("clean", "worst", "ensembles"):
        for path in sorted((run / kind).glob("*/*/*/*/rep0")):
            for file in path.rglob("*.safetensors"):
                what, spec = read_header(file)
                tensors, _ = load_tensors(file, what)
                save_tensors(str(file).replace("/rep0/", "/rep1/"), tensors, what, spec | {"repetition": 1})
            shutil.rmtree(path)
    metrics = pd.read_csv(run / "metrics/metrics.csv")
    trainings = [metrics.assign(repetition=number) for number in (1, 10)]
    pd.concat(trainings).to_csv(run / "metrics/metrics.csv", index=False)
    (run / "metrics/SHA256SUMS").unlink()
    assert from_the_gallery_on(write(tmp_path / "report.html", run)) == from_the_gallery_on(page)


def test_a_run_without_its_predictions_has_no_page(folder, tmp_path):
    run = copy_of(folder, tmp_path)
    shutil.rmtree(run / "clean")
    with pytest.raises(ArtifactError, match="part of a live run only"):
        write(tmp_path / "report.html", run)


def shipped_copy(folder, tmp_path):
    """The same run with what a shipped one keeps."""
    run = copy_of(folder, tmp_path)
    for name in ("mnist", "fashion_mnist"):
        clean, worst = (sorted((run / kind / name).rglob("*.safetensors")) for kind in ("clean", "worst"))
        for what in ("bits", "perturbations"):
            keep_arrays(what, clean, worst, run / what / f"{name}.safetensors")
    for kind in ("clean", "worst", "uaps", "ensembles"):
        shutil.rmtree(run / kind)
    for path in (*run.rglob("*.provenance.json"), run / "examples.json"):
        path.unlink()
    (run / "SHA256SUMS").touch()
    return run


def per_class(page):
    return sorted(page[page.index('id="classes"') : page.index('id="run"')].splitlines())


def pictures(page):
    return sorted(re.findall(r'loading="lazy" src="([^"]+)"', page))


def test_a_shipped_run_has_a_page_of_what_it_keeps(page, folder, tmp_path):
    run = shipped_copy(folder, tmp_path)
    shipped = write(tmp_path / "shipped.html", run)
    assert pictures(shipped) == pictures(page)
    assert per_class(shipped) == per_class(page)
    assert "Test image of class" not in shipped
    assert re.search(r"craft_uaps</th><td class=\"n\">5</td><td class=\"n\">4 min 19 s</td></tr>", shipped)
    shutil.rmtree(run.parent / "data")
    without_data = write(tmp_path / "without_data.html", run)
    assert pictures(without_data) == pictures(page)
    for what in ("bits", "perturbations"):
        shutil.rmtree(run / what)
    for text in (without_data, write(tmp_path / "tables.html", run)):
        assert "classes" not in read(text).ids
        assert {target[1:] for target in read(text).targets if target.startswith("#")} <= read(text).ids


@pytest.mark.parametrize("name", ["grid", "table1", "lambdas-dropout"])
def test_the_page_of_a_run_in_the_repository_has_nothing_empty(name, tmp_path):
    write_report(ROOT / "results/reference" / name, tmp_path / "page.html")
    assert (tmp_path / "page.html").stat().st_size < 3_000_000
    text = (tmp_path / "page.html").read_text()
    assert ('id="figures"' in text) == (ROOT / "results/reference" / name / "figures").is_dir()
    empty = r"<(tbody|table|div class=.(?:strip|drawn|pair)[^>]*|ul|dl|figure)[^>]*>\s*</"
    # the script fills the ranking
    assert not re.search(empty, text.replace("<tbody></tbody></table></div>\n", ""))
    assert not read(text).bare


def test_the_page_shows_how_learners_were_trained(page):
    assert "Training curves" in page
    assert "An epoch took 0.5 s at λ = 0.1 (median)." in page


def test_the_page_says_how_to_cite_the_run(page):
    cited = page[page.index('id="cite"') :]
    assert "eprint = {2204.08726}" in cited
    assert f"version = {{{jacobian_ensembles.__version__}}}" in cited
    commits = re.search(r"<b>Commit</b></dt><dd>(\w+(?:-dirty)?)</dd>", page)
    assert commits is None or f"note = {{Commit {commits[1]}}}" in cited


def test_the_gallery_says_what_the_model_says(page):
    # the M = 1, lambda = 0 model of MNIST is the net of seed 0: its prediction of the first image of class 0
    net = LeNet(generator=torch.Generator().manual_seed(0))
    first = IMAGES[(LABELS == 0).nonzero()[0]].mul(255).byte().float().div(255)
    predicted = net(first).argmax().item()
    standard = page[page.index("<h4>Standard") :]
    figure = standard[standard.index("Test image of class 0") :]
    mark = "✓" if predicted == 0 else "✗"
    assert f"{mark} {predicted}</span> →" in figure[: figure.index("</figure>")]


def test_per_class_accuracy_counts_by_class(page, folder):
    from jacobian_ensembles.storage.perturbations import load_clean

    predicted, labels, _ = load_clean(folder / "clean/mnist/voting/M1/lambda0.00/rep0/clean.safetensors")
    expected = round(100 * (predicted == labels)[labels == 0].mean(), 1)
    section = page[page.index('id="classes"') :]
    row = re.search(r"voting M=1 λ=0.00</th><td>clean</td><td[^>]*>([\d.]+)", section)
    assert float(row[1]) == pytest.approx(expected)


def test_a_point_lies_where_its_numbers_are_and_names_its_model():
    rows = [("own", 0.9, 0.2), ("<&>", 0.8, 0.6)]
    summary = pd.DataFrame(
        {"dataset": "d", "ensemble": name, "members": 1, "lambda": 0.0, "clean_accuracy": c, "mean_uap_accuracy": u}
        for name, c, u in rows
    )
    svg = ElementTree.fromstring(f"<figure>{tradeoff(summary, 'd')}</figure>")
    first, second = svg.find("svg").findall("path[@class='point']")
    at = [tuple(map(float, p.get("transform")[10:-1].split())) for p in (first, second)]
    # 6 % of the range is free at either end: 20 and 60 lie 2.4 of 44.8 from the ends of x, 80 and 90 0.6 of 11.2 of y
    assert at == [
        (pytest.approx(70 + 480 * 2.4 / 44.8, abs=0.01), pytest.approx(10 + 322 * 0.6 / 11.2, abs=0.01)),
        (pytest.approx(550 - 480 * 2.4 / 44.8, abs=0.01), pytest.approx(332 - 322 * 0.6 / 11.2, abs=0.01)),
    ]
    assert second.find("title").text.startswith("<&>")


def test_the_pareto_front_leaves_out_what_is_beaten():
    points = pd.DataFrame({"mean_uap_accuracy": [1, 2, 3, 3, 0.5], "clean_accuracy": [9, 8, 5, 4, 9]})
    assert pareto_front(points).index.tolist() == [2, 1, 0]


def test_jobs_add_up_by_rule():
    jobs = (("train", 2.0), ("craft", 5.0), ("train", 3.0))
    records = [provenance({"rule": rule}, "cpu", 1 + i, seconds) for i, (rule, seconds) in enumerate(jobs)]
    rows, facts = jobs_by_rule(records)
    assert [(r["rule"], r["jobs"], r["seconds"], r["longest"]) for r in rows] == [
        ("train", 2, 5.0, 3.0),
        ("craft", 1, 5.0, 5.0),
    ]
    assert rows[0]["devices"] == ["cpu, 1 thread", "cpu, 3 threads"]
    assert len(facts["Commit"]) == 1


@pytest.fixture(scope="module")
def browser():
    selenium = pytest.importorskip("selenium.webdriver")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("no chromium and chromedriver (Debian: apt-get install chromium chromium-driver)")
    options = selenium.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with selenium.Chrome(options=options, service=selenium.ChromeService(driver)) as chrome:
        yield chrome


SIZES = {"desktop": 1280, "phone": 390}


def show(browser, path, size, scheme):
    """Open a page on a screen of some width, in light or dark, without a network."""
    metrics = {"width": SIZES[size], "height": 900, "deviceScaleFactor": 1, "mobile": size == "phone"}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    browser.execute_cdp_cmd("Network.enable", {})
    browser.execute_cdp_cmd("Network.setBlockedURLs", {"urls": ["http://*", "https://*"]})
    browser.get(path.as_uri())


@pytest.fixture(scope="module")
def with_claims(folder, tmp_path_factory):
    """A page that has everything, verdicts of every kind included."""
    run = copy_of(folder, tmp_path_factory.mktemp("claims"))
    verdicts = ("holds", "does not hold", "reversed", "cannot tell")
    rows = [f"C{i},A statement.,Better in {i} of 9 settings.,Counted.,4.2,,0.01,{v}" for i, v in enumerate(verdicts, 1)]
    write_claims(run, *rows)
    write(run / "report.html", run)
    return run / "report.html"


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_the_page_is_accessible(browser, with_claims, size, scheme):
    """axe-core, with everything that is folded open, finds no serious fault; nor is anything too wide."""
    axe = ROOT / "build/tools/node_modules/axe-core/axe.min.js"
    if not axe.is_file():
        pytest.skip("no axe-core (npm install --no-save --prefix build/tools axe-core)")
    show(browser, with_claims, size, scheme)
    browser.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    browser.execute_script(axe.read_text(encoding="utf-8"))
    browser.set_script_timeout(60)
    found = browser.execute_async_script("axe.run(document, {resultTypes: ['violations']}).then(arguments[0])")
    assert found["passes"]
    faults = {f["id"]: [n["target"] for n in f["nodes"]] for f in found["violations"] if f["impact"] != "minor"}
    assert faults == {}
    assert browser.execute_script("return document.documentElement.scrollWidth") <= SIZES[size]


@pytest.mark.browser
@pytest.mark.parametrize("size", SIZES)
def test_in_a_browser(browser, folder, tmp_path, size):
    """No console message, images shown, nothing wider than the screen; the slider, moved by a key, ranks anew."""
    from selenium.webdriver.common.keys import Keys

    path = tmp_path / "report.html"
    write(path, folder)
    show(browser, path, size, "light")

    def run(script):
        return browser.execute_script(f"return {script}")

    assert run("[...document.images].filter(i => i.loading != 'lazy' && !(i.complete && i.naturalWidth)).length") == 0
    assert run("document.images.length") > 40
    assert run("document.documentElement.scrollWidth") <= SIZES[size]
    summary = pd.read_csv(folder / "metrics/summary.csv").query("dataset == 'mnist'")
    assert run("document.querySelectorAll('#tradeoff-mnist > .point').length") == len(summary)

    def rows():
        return run(
            "[...document.querySelectorAll('#ranking-mnist tbody tr')].map(r => [...r.cells].map(c => c.textContent))"
        )

    def expected(weight):
        scores = 100 * (weight * summary["clean_accuracy"] + (1 - weight) * summary["mean_uap_accuracy"])
        return pytest.approx(sorted(scores, reverse=True), abs=0.06)  # printed with one decimal

    assert [float(row[4]) for row in rows()] == expected(0.5)
    before = [row[1] for row in rows()]
    slider = browser.find_element("id", "weight")
    slider.send_keys(Keys.END)  # by keyboard: all weight on clean accuracy
    assert browser.find_element("id", "weight-value").text == "1.00"
    assert [float(row[4]) for row in rows()] == expected(1)
    assert [row[1] for row in rows()] != before
    ring = run("document.querySelector('#tradeoff-mnist > .ring').getAttribute('cy')")
    heights = run(
        "[...document.querySelectorAll('#tradeoff-mnist > .point')].map(p => p.transform.baseVal[0].matrix.f)"
    )
    assert float(ring) == pytest.approx(min(heights))  # the top of the plot
    assert browser.find_element("id", "best-mnist").text == f"{rows()[0][1]}, {rows()[0][4]} %"
    figures = run("[...document.querySelectorAll('.drawn img')].map(i => [i.clientWidth, i.clientHeight].join())")
    assert len(figures) == 2
    assert len(set(figures)) == 1
    browser.find_element("css selector", ".drawn button").click()
    assert run("document.getElementById('enlarged').open")
    assert [entry for entry in browser.get_log("browser") if entry["level"] != "INFO"] == []
    browser.execute_script("document.querySelector('.drawn button').click()")
    browser.find_element("css selector", "dialog [aria-pressed]").click()
    enlarged = run("(i => [i.clientWidth, i.naturalWidth])(document.querySelector('dialog img'))")
    assert enlarged == [60, 60]  # at its own size, whatever the screen's
