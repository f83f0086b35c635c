"""The page of anybody's model."""

import re

import pytest
import torch
from helpers_science import patch_dataset
from torch import nn

import jacobian_ensembles as je

IMAGES, LABELS = patch_dataset(60, seed=0)


@pytest.fixture(scope="module")
def model():
    """A linear classifier that knows the patches."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    means = torch.stack([IMAGES[c == LABELS].mean(0).flatten() for c in range(10)])
    with torch.no_grad():
        net[1].weight.copy_(means)
        net[1].bias.copy_(-means.square().sum(1) / 2)
    return net


@pytest.fixture(scope="module")
def page(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "mine.html"
    options = {"eps": (0.3, 0.1), "seeds": 2, "iterations": 5, "title": "Mine <&>", "flags": False}
    assert je.report_model(model, IMAGES, LABELS, path, test=(IMAGES, LABELS), **options) == path
    return path.read_text()


def test_the_page_opens_with_clean_and_worst_accuracy_and_chance(model, page):
    deltas = je.craft_uaps(model, IMAGES, LABELS, 0.3, seeds=2, iterations=5)
    found = je.evaluate(model, IMAGES, LABELS, deltas)
    answer = re.search(r'class="answer">(.*?)</p>', page)[1]
    assert answer.startswith(f"Clean accuracy {100 * found.clean_accuracy:.1f} %; ")
    assert answer.endswith(f"{100 * found.worst_accuracy:.1f} % at ε = 0.30. Chance is {100 * found.chance:.1f} %.")
    assert page.index("ε = 0.10") < page.index("ε = 0.30")


def test_text_is_escaped_and_no_other_file_is_needed(page):
    assert "<h1>Mine &lt;&amp;&gt; under universal attack</h1>" in page
    assert not re.search(r'(src|href)="(?!data:)', page)


def test_classes_have_a_row_per_eps(page):
    table = page[page.index("Accuracy per class") :]
    assert re.findall(r'<th scope="row" class="n">([\d.]+)<', table) == ["0", "0.10", "0.30"]


def test_flags_are_shown_with_every_attack(model, tmp_path):
    page = je.report_model(model, IMAGES, LABELS, tmp_path / "p.html", eps=[0.2], seeds=1, iterations=2).read_text()
    section = page[page.index("Is the robustness real?") :]
    assert re.search(r"<p class=\"answer\">(No flag was raised\.|Flags: )", section)
    assert "<td>square</td>" in section


def test_without_a_radius_nothing_is_attacked(model, tmp_path):
    with pytest.raises(ValueError, match="one radius at least"):
        je.report_model(model, IMAGES, LABELS, tmp_path / "p.html", eps=())
