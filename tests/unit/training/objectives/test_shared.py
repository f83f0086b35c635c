import pytest
import torch
import torch.nn.functional as F
from helpers_science import give_biases, linear_net, objectives_slopes, textured

from jacobian_ensembles.models.lenet import LeNet
from jacobian_ensembles.training.objectives.objective import Batch
from jacobian_ensembles.training.objectives.shared import Shared


def batch(images, labels, classes=2):
    return Batch(images, labels, classes, 1, torch.Generator())


def test_on_a_linear_model_by_hand():
    # two classes: an image's gradient is p_other (w_other - w_own); of both images, (-p, 2p) / 2 and (q, -2q) / 2
    net = linear_net([[1.0, 0.0], [0.0, 2.0]])
    x, labels = torch.tensor([[1.0, 1.0], [0.0, 0.0]], dtype=torch.float64), torch.tensor([0, 1])
    p, q = 1 / (1 + torch.e**-1), 0.5
    other = torch.tensor([p, q], dtype=torch.float64)
    expected = (-(1 - other).log()).mean() + 0.8 * (p - q) / 2 * (1 + 2)
    value, _ = Shared(0.8).gradients(net, batch(x, labels))
    torch.testing.assert_close(value, expected)


def test_to_first_order_it_is_the_loss_under_the_worst_perturbation_for_all():
    net = give_biases(LeNet(generator=torch.Generator().manual_seed(0))).double()
    x, labels, eps = textured(5), torch.tensor([7, 2, 0, 1, 4]), 1e-5
    moved = x.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(F.cross_entropy(net(moved), labels), moved)
    with torch.no_grad():
        plain, worst = (F.cross_entropy(net(x + delta), labels) for delta in (0, eps * gradient.sum(0).sign()))
    value, _ = Shared(eps).gradients(net, batch(x, labels, 10))
    assert (value - plain).item() == pytest.approx((worst - plain).item(), rel=1e-3)


@pytest.mark.parametrize("seed", range(2))
def test_gradient_of_a_lenet_equals_finite_differences(seed):
    net = give_biases(LeNet(generator=torch.Generator().manual_seed(0))).double()
    own = batch(textured(3), torch.tensor([7, 2, 0]), 10)
    analytic, numeric = objectives_slopes(Shared(0.3), net, own, seed, h=1e-7)
    assert numeric == pytest.approx(analytic, rel=1e-4, abs=1e-6)
