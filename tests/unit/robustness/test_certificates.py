"""Certificates against enumeration of corners, and against every attack."""

import re
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from helpers_science import linear_net, patch_dataset, textured
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import jacobian_ensembles as je
from jacobian_ensembles.attacks.registry import ATTACKS
from jacobian_ensembles.ensembles.ensemble import Ensemble
from jacobian_ensembles.evaluation.accuracy import correct
from jacobian_ensembles.evaluation.statistics import wilson_interval
from jacobian_ensembles.models.door import scores
from jacobian_ensembles.models.intervals import Margins
from jacobian_ensembles.robustness import certificates
from jacobian_ensembles.training.recipe import Recipe

WEIGHTS = [[1.0, -2.0, 0.5, 0.3], [0.0, 1.0, 1.0, -1.0], [0.5, 0.5, -1.0, 0.2]]


def signs(pixels):
    return torch.tensor(list(product([-1.0, 1.0], repeat=pixels)))


@pytest.mark.parametrize("clip", [False, True])
def test_of_a_linear_model_exactly_the_images_whose_corners_are_all_right_are_certified(clip):
    net = linear_net(WEIGHTS)
    x = torch.rand(300, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels = torch.arange(300) % 3
    eps = (0.02, 0.1, 0.3)
    found = je.certify(net, x, labels, eps, clip)
    for radius, bits in zip(eps, found.certified, strict=True):
        right = correct(net, x, labels, radius * signs(4).double(), clip).all(0)
        np.testing.assert_array_equal(bits, right.numpy())
    assert 0 < found.accuracies[2] < found.accuracies[0] < 0.5
    assert (found.clip, found.eps.tolist()) == (clip, list(eps))


def test_clipping_proves_more_of_images_at_the_bounds():
    net = linear_net(WEIGHTS)
    x = torch.rand(300, 4, generator=torch.Generator().manual_seed(0)).round().double()
    labels = net(x).argmax(1)
    free, clipped = (je.certify(net, x, labels, 0.3, clip).certified for clip in (False, True))
    assert (clipped | ~free).all()
    assert (clipped & ~free).any()


def test_radii_come_in_any_order_and_become_a_table():
    net, x = linear_net(WEIGHTS), torch.rand(50, 4, generator=torch.Generator().manual_seed(1)).double()
    labels = net(x).argmax(1)
    found = je.certify(net, x, labels, [0.3, 0.0, 0.1])
    again = [je.certify(net, x, labels, radius).certified[0] for radius in (0.3, 0.0, 0.1)]
    np.testing.assert_array_equal(found.certified, again)
    assert found.accuracies[1] == 1
    table = found.to_pandas(0.9)
    low, high = wilson_interval(int(again[2].sum()), 50, 0.9)
    expected = pd.DataFrame({"certified": again[2].mean(), "low": low, "high": high}, index=pd.Index([0.1], name="eps"))
    pd.testing.assert_frame_equal(table.loc[[0.1]], expected)


def test_the_probabilities_bound_is_the_least_over_a_box_of_margins():
    rng = np.random.default_rng(0)
    labels = torch.tensor([2])
    for _ in range(20):
        low = torch.tensor(rng.normal(0, 2, (1, 4)))
        high = low + torch.tensor(rng.exponential(1, (1, 4)))
        low[0, 2] = high[0, 2] = 0
        found = certificates._probability_margins(Margins(low, high, torch.ones(1)), labels)
        ends = zip(low[0].tolist(), high[0].tolist(), strict=True)
        margins = torch.tensor(list(product(*(np.linspace(a, b, 5) for a, b in ends))))
        p = (-margins).softmax(1)  # z_k = z_y - margin
        others = [0, 1, 3]
        torch.testing.assert_close(found[0, others], (p[:, 2:3] - p).amin(0)[others])
    far = Margins(torch.tensor([[-2000.0, 0, 3]]).double(), torch.tensor([[2000.0, 0, 3]]).double(), torch.ones(1))
    assert certificates._probability_margins(far, torch.tensor([1]))[0, 0] == -1


@pytest.mark.parametrize("average", ["logits", "probabilities"])
def test_members_are_averaged_as_the_ensemble_does(average):
    # the first is sure of class 0 and the second less sure of class 1: margins 4 and -2
    nets = [linear_net([[4.0], [0.0]]), linear_net([[0.0], [2.0]])]
    x = torch.ones(1, 1).double()
    # at eps: margins 4 (1 - eps) and -2 (1 + eps): logits 2 - 6 eps > 0;
    # probabilities tanh(2 (1 - eps)) > tanh(1 + eps): 2 - 2 eps > 1 + eps
    found = je.certify(Ensemble(nets, average), x, torch.tensor([0]), [0.332, 0.334])
    assert found.certified[:, 0].tolist() == [True, False]


def random_net(activation, seed):
    torch.manual_seed(seed)
    act = {"tanh": nn.Tanh, "relu": nn.ReLU}[activation]
    pool = [nn.MaxPool2d(4), nn.AvgPool2d(4)][seed % 2]
    return nn.Sequential(pool, nn.Conv2d(1, 4, 3), act(), nn.Flatten(), nn.Linear(100, 20), act(), nn.Linear(20, 10))


OPTIONS = {
    "sgd": {"iterations": 4, "batch_size": 20, "loss_cap": None},
    "staged": {"budget": 2, "iterations": 4, "batch_size": 20, "loss_cap": None},
    "square": {"queries": 20},
}


def test_every_attack_is_tried():
    assert set(OPTIONS) == set(ATTACKS)


def survivors(model, x, labels, eps, clip):
    """Which images are right under universal perturbations of every attack, signs at random, and their own signs."""
    deltas = [
        je.craft_uaps(model, x, labels, eps, attack=name, seeds=[0], **options, clip=clip)
        for name, options in OPTIONS.items()
    ]
    noise = torch.rand(4, *x.shape[1:], generator=torch.Generator().manual_seed(1))
    universal = correct(model, x, labels, torch.cat([*deltas, eps * (2 * noise - 1).sign()]), clip).all(0)
    with torch.enable_grad():
        z = x.clone().requires_grad_(True)
        (own,) = torch.autograd.grad(nn.functional.cross_entropy(scores(model, z), labels, reduction="sum"), z)
    moved = x + eps * own.sign()
    with torch.no_grad():
        return universal & (scores(model, moved.clamp(0, 1) if clip else moved).argmax(1) == labels)


def own_predictions(model, x):
    return torch.from_numpy(je.evaluate(model, x, torch.zeros(len(x), dtype=torch.int64)).predicted)


@settings(max_examples=15, deadline=None)
@given(
    st.sampled_from(["tanh", "relu"]),
    st.integers(0, 1000),
    st.sampled_from([None, "logits", "probabilities"]),
    st.sampled_from([0.001, 0.003, 0.01, 0.1]),
    st.booleans(),
)
def test_no_attack_takes_a_certified_image(activation, seed, average, eps, clip):
    nets = [random_net(activation, seed + i) for i in range(1 if average is None else 2)]
    model = nets[0].eval() if average is None else Ensemble(nets, average).eval()
    x = textured(40, seed, torch.float32)
    labels = own_predictions(model, x)
    certified = je.certify(model, x, labels, [0.0, eps], clip).certified
    assert certified[0].mean() > 0.9  # rounding alone takes few
    assert survivors(model, x, labels, eps, clip).numpy()[certified[1]].all()


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_no_attack_takes_a_certified_image_of_lenets_trained_for_bounds(activation):
    recipe = Recipe(epochs=10, batch_size=20, learning_rate=0.005)
    model = je.train_ensemble(
        *patch_dataset(400), "voting", 1, 0.05, options={"activation": activation}, recipe=recipe, objective="ibp",
        validation=patch_dataset(100, seed=2),
    )  # fmt: skip
    x, labels = patch_dataset(100, seed=1)
    eps = [0.02, 0.05, 0.3]
    found = je.certify(model, x, labels, eps)
    assert found.accuracies[1] > 0.7
    for radius, bits in zip(eps, found.certified, strict=True):
        right = survivors(model, x, labels, radius, False).numpy()
        assert right[bits].all()
    assert right.mean() < 0.9  # attacks do bite


@pytest.mark.parametrize("name", ["mnist/snapshot/M3/lambda0.50", "fashion_mnist/voting/M1/lambda0.10"])
def test_no_attack_takes_a_certified_image_of_a_shipped_model(name):
    model, x = je.load_ensemble(f"table1/{name}"), patch_dataset(40)[0]
    labels = own_predictions(model, x)
    certified = je.certify(model, x, labels, 1e-4).certified[0]
    assert certified.mean() >= 0.1
    shipped = 0.001 * je.load_perturbation(f"table1/{name}", 0.1).reshape(1, 1, 28, 28)
    assert correct(model, x, labels, shipped, False)[0].numpy()[certified].all()
    assert survivors(model, x, labels, 1e-4, False).numpy()[certified].all()


CERTIFIED = sorted((Path(__file__).parents[3] / "results/reference").glob("certified-*/metrics/metrics.csv"))


@pytest.mark.parametrize("table", CERTIFIED, ids=lambda path: path.parts[-3])
def test_no_attack_of_a_shipped_run_fell_below_its_certificates(table):
    metrics = pd.read_csv(table)
    assert (metrics["certified_accuracy"] <= metrics["per_image_worst_accuracy"]).all()
    assert (metrics["per_image_worst_accuracy"] <= metrics["worst_accuracy"]).all()


def test_what_cannot_be_certified_is_refused():
    net, x, labels = linear_net(WEIGHTS), torch.rand(4, 4), torch.tensor([0, 1, 2, 0])
    with pytest.raises(ValueError, match=r"Got the function <lambda>"):
        je.certify(Ensemble([net], lambda logits: logits[0]), x, labels, 0.1)
    with pytest.raises(ValueError, match=r"Got LogSoftmax"):
        je.certify(nn.Sequential(net, nn.LogSoftmax(1)), x, labels, 0.1)
    with pytest.raises(ValueError, match=r"float32 and float64\. Got torch\.bfloat16, torch\.float32: use"):
        je.certify(nn.Linear(4, 3).bfloat16(), x, labels, 0.1)
    for eps in (-0.1, float("nan"), [[0.1]]):
        with pytest.raises(ValueError, match=re.escape(f"Got {eps!r}.")):
            je.certify(net, x, labels, eps)


def test_a_network_that_computes_something_else_is_refused():
    net = nn.Linear(4, 3)
    net.register_forward_hook(lambda module, inputs, out: out * torch.tensor([1.0, 1.0, 1.001]))
    with pytest.raises(ValueError, match=r"Linear must compute what its layers do\. Its scores lie \d.* outside"):
        je.certify(net, torch.rand(20, 4), torch.arange(20) % 3, 0.1)


def test_tf32_is_refused_on_a_gpu(monkeypatch):
    images = SimpleNamespace(is_cuda=True, dtype=torch.float32)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    assert certificates._unit(nn.Linear(1, 2), images) == 2.0**-24
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    with pytest.raises(ValueError, match="Got TF32"):
        certificates._unit(nn.Linear(1, 2), images)


def test_the_how_to_shows_it(monkeypatch, capsys):
    page = (Path(__file__).resolve().parents[3] / "docs" / "how-to" / "robust.md").read_text()
    code = re.search(r"```python\n(import jacobian_ensembles.*?je\.certify.*?)```", page, re.DOTALL)[1]
    assert len(code.splitlines()) <= 6
    monkeypatch.setattr(je, "load_split", lambda *_, **__: patch_dataset(20), raising=False)
    exec(code, {})
    assert capsys.readouterr().out.split()[:4] == ["certified", "low", "high", "eps"]
