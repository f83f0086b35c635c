import pytest
import torch
from helpers_science import give_biases, linear_net, slope_along, textured
from torch import nn

from jacobian_ensembles.models.jacobian import unit_vectors
from jacobian_ensembles.models.lenet import LeNet
from jacobian_ensembles.training.objectives.decorrelated import Decorrelated
from jacobian_ensembles.training.objectives.jacobian import Jacobian
from jacobian_ensembles.training.objectives.objective import Batch

WEIGHTS = [
    [[1.0, -2.0, 0.5], [0.0, 1.0, 1.0]],
    [[0.5, 1.0, 0.0], [2.0, 0.0, -1.0]],
    [[1.0, 1.0, 1.0], [0.0, -1.0, 2.0]],
]


def cosine(a, b):
    return (a @ b / (a.norm() * b.norm())).item()


@pytest.mark.parametrize("members", [2, 3])
def test_of_linear_models_by_hand(members):
    nets = [linear_net(w) for w in WEIGHTS[:members]]
    x, labels = torch.rand(4, 3).double(), torch.tensor([0, 1, 1, 0])
    got = Decorrelated(0.5, correlation=3.0).coupling(nets, x, labels, torch.Generator().manual_seed(1))
    v = unit_vectors(4, 2, torch.Generator().manual_seed(1)).double()
    total = 0.0
    for row in v:
        products = [row @ net.weight for net in nets]
        total += sum(cosine(products[i], products[j]) ** 2 for i in range(members) for j in range(i))
    assert got.item() == pytest.approx(0.5 * 3 * total / 4 / (members - 1))


def test_of_loss_gradients_by_hand():
    # two classes: a loss gradient is a multiple of w_other - w_own, whatever the image and the label
    nets = [linear_net(w) for w in WEIGHTS[:2]]
    x, labels = torch.rand(4, 3).double(), torch.tensor([0, 1, 1, 0])
    got = Decorrelated(1.0, of="loss").coupling(nets, x, labels, torch.Generator())
    assert got.item() == pytest.approx(cosine(*(net.weight[1] - net.weight[0] for net in nets)) ** 2)


def test_learners_that_agree_cost_most_and_orthogonal_ones_nothing():
    x, labels = torch.rand(4, 3).double(), torch.tensor([0, 1, 1, 0])
    one, opposed = linear_net(WEIGHTS[0]), linear_net([[-3 * w for w in row] for row in WEIGHTS[0]])
    across = [linear_net([[1.0, 0, 0], [2.0, 0, 0]]), linear_net([[0, 1.0, 0], [0, 0, 1.0]])]
    objective = Decorrelated(0.5)
    assert objective.coupling([one, opposed], x, labels, torch.Generator()).item() == pytest.approx(0.5)
    assert objective.coupling(across, x, labels, torch.Generator()).item() == 0.0


@pytest.mark.parametrize("of", ["jacobian", "loss"])
@pytest.mark.parametrize("kind", ["lenet", "generic"])
def test_gradient_of_the_coupling_equals_finite_differences(kind, of):
    if kind == "lenet":
        nets = [give_biases(LeNet(generator=torch.Generator().manual_seed(s))).double() for s in (0, 1)]
        x, labels = textured(3), torch.tensor([7, 2, 0])
    else:
        torch.manual_seed(0)
        nets = [nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 4)).double() for _ in range(3)]
        x, labels = torch.rand(3, 5).double(), torch.tensor([3, 2, 0])
    both = nn.ModuleList(nets)

    def coupling():
        return Decorrelated(0.7, of=of).coupling(nets, x, labels, torch.Generator().manual_seed(3))

    rng = torch.Generator().manual_seed(0)
    step = [torch.randn(p.shape, generator=rng, dtype=torch.float64) for p in both.parameters()]
    gradients = torch.autograd.grad(coupling(), list(both.parameters()), materialize_grads=True)
    analytic = sum((g * d).sum().item() for g, d in zip(gradients, step, strict=True))
    assert abs(analytic) > 1e-4
    assert slope_along(both, step, coupling, h=1e-6) == pytest.approx(analytic, rel=1e-4, abs=1e-8)


def test_each_learners_own_part_is_the_jacobian_penalty():
    net = give_biases(LeNet(generator=torch.Generator().manual_seed(0)))
    x, labels = textured(3, dtype=torch.float32), torch.tensor([7, 2, 0])
    own, theirs = (Batch(x, labels, 10, 2, torch.Generator().manual_seed(5)) for _ in range(2))
    value, gradients = Decorrelated(0.2, jacobian=0.5).gradients(net, own)
    expected, others = Jacobian(0.1).gradients(net, theirs)
    assert torch.equal(value, expected)
    assert all(map(torch.equal, gradients, others))
