"""The gradient of a shared perturbation, where the batch is summed before the first convolutions."""

import pytest
import torch
from torch import nn

from jacobian_ensembles.attacks import summing
from jacobian_ensembles.attacks.losses import loss_gradient
from jacobian_ensembles.ensembles.ensemble import Ensemble

X = torch.rand(12, 2, 9, 9, generator=torch.Generator().manual_seed(0))
INTO = torch.rand(2, 2, 17, 17, generator=torch.Generator().manual_seed(1)) / 100
LABELS = torch.arange(12) % 3


def cnn(seed=0, **options):
    torch.manual_seed(seed)
    first = nn.Conv2d(2, 4, 3, **options)
    net = nn.Sequential(first, nn.Tanh(), nn.LazyConv2d(5, 2), nn.Tanh(), nn.Flatten(), nn.LazyLinear(3))
    net(X)
    return net.eval()


class Also(nn.Module):
    """A net whose input takes a second way."""

    def __init__(self, way):
        super().__init__()
        self.net, self.way = cnn(), way

    def forward(self, x):
        return self.net(x) + self.way(x)


class Before(nn.Module):
    """A net that changes its input first."""

    def __init__(self, change):
        super().__init__()
        self.net, self.change = cnn(), change

    def forward(self, x):
        return self.net(self.change(x))


def two_ways():
    second = cnn(1, stride=2)
    return Also(second)


def first_convolutions(model):
    x = X.clone().requires_grad_(True)
    return len(summing.first_convolutions(model(x.to(x.dtype, copy=True)).sum(), x))


SUMMED = {
    "plain": (cnn, 1),
    "strided": (lambda: cnn(stride=2, padding=1), 1),
    "dilated and grouped": (lambda: cnn(dilation=2, groups=2, bias=False), 1),
    "frozen": (lambda: cnn().requires_grad_(False), 1),
    "two convolutions": (two_ways, 2),
    "ensemble": (lambda: Ensemble([cnn(i) for i in range(3)], "probabilities"), 3),
}
NOT_SUMMED = {
    "padded by reflection": lambda: cnn(padding=1, padding_mode="reflect"),
    "a way past the convolution": lambda: Also(lambda x: x.square().flatten(1)[:, :3]),
    "clipped in place": lambda: Before(lambda x: x.sub_(0.5).clamp_(0, 0.3)),
    "mirrored": lambda: Before(lambda x: x.flip(0)),
    "as a kernel": lambda: Before(lambda x: nn.functional.conv2d(INTO, x).transpose(0, 1)),
}


def expected(model, groups):
    x = X.clone().requires_grad_(True)
    nll = nn.functional.cross_entropy(model(x.clone()), LABELS, reduction="sum") / (len(X) // groups)
    return torch.autograd.grad(nll, x)[0].unflatten(0, (groups, -1)).sum(1)


@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("name", SUMMED)
def test_the_batch_is_summed_before_the_first_convolutions(name, groups):
    build, count = SUMMED[name]
    model = build()
    assert first_convolutions(model) == count
    gradient = loss_gradient(model, X, LABELS, None, groups)
    assert not gradient.requires_grad
    torch.testing.assert_close(gradient, expected(model, groups), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("name", NOT_SUMMED)
def test_nothing_is_summed_early_where_the_input_goes_elsewhere(name):
    model = NOT_SUMMED[name]()
    torch.testing.assert_close(loss_gradient(model, X, LABELS, None), expected(model, 1), rtol=1e-4, atol=1e-7)
    assert first_convolutions(model) == 0


def test_other_precision_is_summed_afterwards():
    model = cnn().double()
    gradient = loss_gradient(model, X, LABELS, None)
    assert gradient.dtype == torch.float32
    x = X.double().requires_grad_(True)
    (g,) = torch.autograd.grad(nn.functional.cross_entropy(model(x), LABELS), x)
    torch.testing.assert_close(gradient, g.sum(0, keepdim=True).float(), rtol=1e-5, atol=1e-8)
