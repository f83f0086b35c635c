"""Compiled interval bounds against float64 automatic differentiation of the general ones."""

import pytest
import torch
import torch.nn.functional as F
from helpers_science import ACTIVATIONS, SCALINGS, give_biases, textured

from jacobian_ensembles.models import intervals
from jacobian_ensembles.models.intervals import layers_of, margin_bounds, margin_bounds_within
from jacobian_ensembles.models.lenet import LeNet
from jacobian_ensembles.training.objectives.ibp import Ibp

pytest.importorskip("jacobian_ensembles.engine.bounds", reason="numba is missing", exc_type=ImportError)


def make(activation, scaling=(0.0, 1.0), classes=10):
    net = give_biases(LeNet(activation, 0.0, *scaling, classes, generator=torch.Generator().manual_seed(0)))
    Ibp(0.1).prepare(net)  # a tanh that saturates has slopes that are rounding
    return net


def exact(net, x, eps, labels):
    """The same bounds in float64, where nothing is compiled, and the gradients of a loss of them."""
    twin = LeNet(net.activation, 0.0, net.mean, net.std, net.fc3.out_features).double()
    twin.load_state_dict(net.state_dict())
    radius = torch.full_like(x[:1], eps).double()
    return derivatives(margin_bounds(layers_of(twin), x.double(), radius, labels), twin, labels)


def derivatives(found, net, labels):
    loss = F.cross_entropy(-found.low, labels) + found.high.square().mean()
    return found, torch.autograd.grad(loss, list(net.parameters()))


def close(ours, expected, tolerance):
    assert ours.dtype == torch.float32
    assert (ours.double() - expected).abs().max() <= tolerance * expected.abs().max()


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("batch", [1, 16, 41])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_bounds_and_gradients_at_any_batch_size(activation, batch, scaling):
    net, x = make(activation, scaling), textured(batch, dtype=torch.float32)
    labels, eps = torch.arange(batch) % 10, 0.03
    ours, gradients = derivatives(margin_bounds_within(net, x, eps, labels), net, labels)
    expected, exact_gradients = exact(net, x, eps, labels)
    for mine, theirs in zip(ours, expected, strict=True):
        close(mine, theirs, 5e-6)
    for mine, theirs in zip(gradients, exact_gradients, strict=True):
        close(mine, theirs, 2e-5)


def test_another_number_of_classes_and_two_passes_at_once():
    net, x, labels = make("relu", classes=7), textured(9, dtype=torch.float32), torch.arange(9) % 7
    wide, narrow = (margin_bounds_within(net, x, eps, labels) for eps in (0.1, 0.02))
    for found, eps in ((wide, 0.1), (narrow, 0.02)):
        _, gradients = derivatives(found, net, labels)
        for mine, theirs in zip(gradients, exact(net, x, eps, labels)[1], strict=True):
            close(mine, theirs, 2e-5)


def test_the_engine_is_used_for_lenets_in_float32_alone(monkeypatch):
    calls = []
    monkeypatch.setattr(intervals._HiddenBounds, "apply", lambda *_: calls.append(1) or torch.zeros(2, 168))
    x, labels = textured(2, dtype=torch.float32), torch.tensor([0, 1])
    margin_bounds_within(make("relu"), x, 0.1, labels)
    assert calls == [1]
    margin_bounds_within(make("relu").double(), x.double(), 0.1, labels)
    margin_bounds_within(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 3)), x, 0.1, labels)
    assert calls == [1]
