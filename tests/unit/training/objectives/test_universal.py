import pytest
import torch
import torch.nn.functional as F
from helpers_science import give_biases, linear_net, plain_of, textured
from pydantic import ValidationError

from jacobian_ensembles.models.jacobian import unit_vectors
from jacobian_ensembles.models.lenet import LeNet
from jacobian_ensembles.training.objectives.objective import Batch
from jacobian_ensembles.training.objectives.universal import Universal

WEIGHTS = [[1.0, -2.0, 0.5, 3.0], [0.0, 1.0, 0.0, 3.5]]
TOWARDS_1 = torch.tensor([-1.0, 1.0, -1.0, 1.0], dtype=torch.float64)


def batch(images, labels, classes=2, seed=0):
    return Batch(images, labels, classes, 1, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("label", [0, 1])
def test_on_a_linear_model_the_perturbation_goes_straight_to_its_corner(label):
    # two classes: d CE / d delta = p (w_other - w_own), of the same sign for every image of one class
    objective, x = Universal(0.2, step=0.4), torch.rand(6, 4).double()
    labels = torch.full((6,), label)
    for reached in (0.4, 0.8, 1.0, 1.0):  # in units of eps: three steps, and there it stays
        objective.gradients(linear_net(WEIGHTS), batch(x, labels))
        expected = 0.2 * reached * (TOWARDS_1 if label == 0 else -TOWARDS_1)
        torch.testing.assert_close(objective.delta, expected)


@pytest.mark.parametrize("jacobian", [0.0, 0.3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["compiled", "autograd"])
def test_learner_and_perturbation_both_start_from_where_they_stand(dtype, jacobian):
    net = give_biases(LeNet(generator=torch.Generator().manual_seed(0))).to(dtype)
    x, labels = textured(4, dtype=dtype), torch.tensor([3, 1, 4, 1])
    objective = Universal(0.1, step=0.5, jacobian=jacobian)
    objective.gradients(net, batch(x, labels, 10, seed=1))
    before = objective.delta.clone()
    assert set(before.abs().unique().tolist()) <= {0.0, torch.tensor(0.05, dtype=dtype).item()}
    value, gradients = objective.gradients(net, batch(x, labels, 10, seed=2))

    exact = LeNet().double()
    exact.load_state_dict(net.state_dict())
    shift = before.double().requires_grad_(True)
    z = (x.double() + shift).detach().requires_grad_(True)
    loss = F.cross_entropy(plain_of(exact)(z), labels)
    (ascent,) = torch.autograd.grad(F.cross_entropy(plain_of(exact)(x.double() + shift), labels), shift)
    v = unit_vectors(4, 10, torch.Generator().manual_seed(2)).double()
    if jacobian:
        (g,) = torch.autograd.grad(plain_of(exact)(z), z, v, create_graph=True)
        loss = loss + jacobian * 10 / (2 * 4) * g.pow(2).sum()
    torch.testing.assert_close(value.double(), loss.detach(), rtol=1e-5, atol=0)
    for ours, theirs in zip(gradients, torch.autograd.grad(loss, list(exact.parameters())), strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-3, atol=1e-4 * theirs.abs().max().item())
    clear = ascent.abs() > 1e-6 * ascent.abs().max()
    expected = (before.double() + 0.05 * ascent.sign()).clamp(-0.1, 0.1)
    torch.testing.assert_close(objective.delta.double()[clear], expected[clear], rtol=0, atol=1e-8)


def test_trainings_share_no_perturbation():
    first, second = Universal(0.2), Universal(0.2)
    first.gradients(linear_net(WEIGHTS), batch(torch.rand(6, 4).double(), torch.zeros(6, dtype=torch.int64)))
    assert first.delta is not None
    assert second.delta is None


@pytest.mark.parametrize("options", [{"step": 0}, {"jacobian": -1}, {"steps": 3}])
def test_options_that_cannot_be_are_refused(options):
    with pytest.raises(ValidationError):
        Universal(0.1, **options)
