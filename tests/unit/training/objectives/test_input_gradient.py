import pytest
import torch
from helpers_science import give_biases, linear_net, objectives_slopes, textured

from jacobian_ensembles.models.lenet import LeNet
from jacobian_ensembles.training.objectives.input_gradient import InputGradient
from jacobian_ensembles.training.objectives.objective import Batch


def batch(images, labels, classes=2):
    return Batch(images, labels, classes, 1, torch.Generator())


def test_on_a_linear_model_by_hand():
    # two classes: the gradient is p_other (w_other - w_own), p_other = sigmoid(z_other - z_own)
    net = linear_net([[1.0, 0.0], [0.0, 2.0]])
    x, labels = torch.tensor([[1.0, 1.0], [0.0, 0.0]], dtype=torch.float64), torch.tensor([0, 1])
    other = torch.tensor([1 / (1 + torch.e**-1), 0.5], dtype=torch.float64)  # z = (1, 2) and (0, 0)
    expected = (-(1 - other).log()).mean() + 0.8 / 2 * (other**2 * (1 + 4)).mean()
    value, _ = InputGradient(0.8).gradients(net, batch(x, labels))
    torch.testing.assert_close(value, expected)


@pytest.mark.parametrize("seed", range(3))
def test_gradient_of_a_lenet_equals_finite_differences(seed):
    net = give_biases(LeNet(generator=torch.Generator().manual_seed(0))).double()
    own = batch(textured(3), torch.tensor([7, 2, 0]), 10)
    analytic, numeric = objectives_slopes(InputGradient(2.0), net, own, seed, h=1e-6)
    assert numeric == pytest.approx(analytic, rel=1e-5, abs=1e-7)
