import math

import pytest
import torch
import torch.nn.functional as F
from helpers_science import (
    ACTIVATIONS,
    SCALINGS,
    directions,
    dyadic,
    give_biases,
    jacobians,
    plain_lenet,
    plain_of,
    single_tap,
    slope_along,
    textured,
    with_blank_background,
    within,
)
from torch import nn

from jacobian_ensembles.models.jacobian import exact_jacobian, unit_vectors
from jacobian_ensembles.models.lenet import LeNet
from jacobian_ensembles.training.objectives.derivatives import (
    input_gradient,
    loss_and_gradients,
    penalty_by_double_backward,
    with_shared_gradient,
)


def lenet(activation="tanh", scaling=(0.0, 1.0), dropout=0.0):
    net = LeNet(activation, dropout, *scaling, generator=torch.Generator().manual_seed(0))
    return give_biases(net).double()


def small_net(inputs=5, hidden=7, classes=4):
    net = nn.Sequential(nn.Linear(inputs, hidden), nn.Tanh(), nn.Linear(hidden, classes)).double()
    rng = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randn(p.shape, generator=rng, dtype=torch.float64))
    return net


def batch_of(count, inputs=5, seed=4):
    return torch.randn(count, inputs, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def basis(count, classes):
    """Every unit vector of R^C for every sample: the estimate of ||J||^2 is then exact."""
    return torch.eye(classes, dtype=torch.float64)[:, None].expand(classes, count, classes)


def cross_entropy_by_hand(logits, labels):
    return sum(
        math.log(sum(math.exp(z) for z in row)) - row[label]
        for row, label in zip(logits.tolist(), labels.tolist(), strict=True)
    ) / len(labels)


def reference_loss(logits, x, labels, lam, v):
    """Eq. 1 through a plain network: cross-entropy + lambda C / (2 B P) sum_p ||v_p^T J||^2, by double backward."""
    loss = F.cross_entropy(logits, labels)
    squares = 0.0
    for p in range(len(v)):
        (g,) = torch.autograd.grad(logits, x, v[p], create_graph=True)
        squares = squares + (g**2).sum()
    return loss + lam * 10 / (2 * len(x) * len(v)) * squares


def test_directions_are_uniform_on_the_unit_sphere():
    n, c = 40_000, 10
    v = unit_vectors(n, c, torch.Generator().manual_seed(0)).double()
    torch.testing.assert_close(v.norm(dim=1), torch.ones(n, dtype=torch.float64), rtol=0, atol=1e-6)
    assert v.mean(0).abs().max() < 4.5 / math.sqrt(c * n)
    # E v_i v_j = 1/C on the diagonal, 0 off it; E v_i^4 = 3 / (C (C + 2)), for a Gaussian direction only
    second = v.T @ v / n
    torch.testing.assert_close(second, torch.eye(c, dtype=torch.float64) / c, rtol=0, atol=4.5 * 0.12 / math.sqrt(n))
    assert v.pow(4).mean().item() == pytest.approx(3 / (c * (c + 2)), rel=0.01)


def test_directions_are_determined_by_their_generator():
    torch.manual_seed(0)
    first = unit_vectors(3, 4, torch.Generator().manual_seed(5))
    torch.manual_seed(1)
    assert torch.equal(first, unit_vectors(3, 4, torch.Generator().manual_seed(5)))


def test_jacobian_of_a_linear_map_is_its_matrix_for_every_sample():
    w = torch.arange(24, dtype=torch.float64).view(3, 8)
    got = exact_jacobian(lambda x: x.flatten(1) @ w.T + 1, torch.randn(5, 2, 4, dtype=torch.float64))
    assert torch.equal(got, w.expand(5, 3, 8))


def test_jacobian_of_a_known_function_of_two_inputs():
    x = torch.tensor([[2.0, 3.0], [-1.0, 0.5]], dtype=torch.float64)
    with torch.no_grad():  # it must not need a caller's grad mode
        got = exact_jacobian(lambda z: torch.stack([z[:, 0] * z[:, 1], z[:, 0] ** 2, torch.exp(z[:, 1])], 1), x)
    expected = [[[3, 2], [4, 0], [0, math.exp(3)]], [[0.5, -1], [-2, 0], [0, math.exp(0.5)]]]
    torch.testing.assert_close(got, torch.tensor(expected, dtype=torch.float64))


def test_jacobian_of_a_lenet_equals_the_textbook_networks():
    net, x = lenet(scaling=SCALINGS[1]), textured(3)
    torch.testing.assert_close(exact_jacobian(net, x), jacobians(plain_of(net), x), rtol=1e-9, atol=1e-12)


def test_penalty_of_a_linear_map_by_hand():
    # J = [[1, 2], [3, 4]] for both samples; v = e_1 and e_2: ||v^T J||^2 = 5 and 25; C / (2 B P) = 2 / 4
    x = torch.zeros(2, 2, requires_grad=True)
    logits = x @ torch.tensor([[1.0, 3.0], [2.0, 4.0]])
    assert penalty_by_double_backward(logits, x, torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])).item() == 15.0


def test_penalty_with_a_whole_basis_is_half_the_mean_squared_norm():
    net, x = small_net(), batch_of(6).requires_grad_(True)
    exact = jacobians(net, x.detach()).pow(2).sum((1, 2)).mean() / 2
    torch.testing.assert_close(penalty_by_double_backward(net(x), x, basis(6, 4)), exact)


def test_random_projections_estimate_the_squared_norm_without_bias():
    net, x, draws = small_net(), batch_of(3).requires_grad_(True), 2_000
    exact = jacobians(net, x.detach()).pow(2).sum((1, 2)).mean().item() / 2
    rng, logits = torch.Generator().manual_seed(0), net(x)
    v = [unit_vectors(3, 4, rng).double()[None] for _ in range(draws)]
    estimates = torch.stack([penalty_by_double_backward(logits, x, one).detach() for one in v])
    error = estimates.std().item() / math.sqrt(draws)
    assert error < 0.03 * exact  # else the next line would say little
    assert within(estimates.mean().item(), exact, error)
    many = penalty_by_double_backward(logits, x, torch.cat(v[:50]))
    torch.testing.assert_close(many, estimates[:50].mean())  # P projections average P estimates


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_lenet_loss_with_a_whole_basis_is_cross_entropy_plus_the_exact_norm(activation):
    net, x, labels, lam = lenet(activation, SCALINGS[1]), textured(4), torch.tensor([1, 0, 9, 4]), 0.3
    norms = jacobians(plain_of(net), x).pow(2).sum((1, 2))
    expected = cross_entropy_by_hand(plain_of(net)(x), labels) + lam / 2 * norms.mean().item()
    assert lam * norms.mean() > 0.1  # the penalty is not lost beside the cross-entropy
    value, _ = loss_and_gradients(net, x, labels, lam, basis(4, 10))
    assert value.item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("dtype", "rtol", "atol"), [(torch.float64, 1e-8, 1e-12), (torch.float32, 2e-4, 2e-6)])
@pytest.mark.parametrize("projections", [1, 3])
@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_lenet_gradient_equals_double_backward_through_the_textbook_network(
    activation, scaling, projections, dtype, rtol, atol
):
    net, x, labels = lenet(activation, scaling).to(dtype), textured(6, dtype=dtype), torch.tensor([3, 1, 4, 1, 5, 9])
    v, lam = directions(projections, 6, dtype=dtype), 0.5
    value, got = loss_and_gradients(net, x, labels, lam, v)

    z = x.clone().requires_grad_(True)
    loss = reference_loss(plain_of(net)(z), z, labels, lam, v)
    expected = torch.autograd.grad(loss, list(net.parameters()))
    torch.testing.assert_close(value, loss.detach(), rtol=rtol, atol=atol)
    bare = torch.autograd.grad(F.cross_entropy(plain_of(net)(x), labels), list(net.parameters()))
    for (name, _), ours, theirs, without in zip(net.named_parameters(), got, expected, bare, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=rtol, atol=atol * theirs.abs().max().item() * 10, msg=name)
        if name.endswith("weight"):  # the regulariser's part is large enough to be seen
            assert (theirs - without).norm() > 0.01 * without.norm()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", ["generic", "tanh", "relu"])
def test_gradient_equals_finite_differences_of_the_loss(kind, seed):
    if kind == "generic":
        model, x, labels = small_net(), batch_of(3), torch.tensor([0, 3, 1])
        v = F.normalize(batch_of(6, inputs=4, seed=8), dim=1).view(2, 3, 4)
    else:
        model, x, labels, v = lenet(kind), textured(3), torch.tensor([7, 2, 0]), directions(2, 3)
    rng = torch.Generator().manual_seed(seed)
    step = [torch.randn(p.shape, generator=rng, dtype=torch.float64) for p in model.parameters()]
    _, grads = loss_and_gradients(model, x, labels, 0.7, v)
    analytic = sum((g * d).sum().item() for g, d in zip(grads, step, strict=True))
    numeric = slope_along(model, step, lambda: loss_and_gradients(model, x, labels, 0.7, v)[0], h=1e-6)
    assert numeric == pytest.approx(analytic, rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_both_paths_agree_on_value_and_gradient(activation):
    class Textbook(nn.Module):
        def __init__(self, net):
            super().__init__()
            self.net = net

        def forward(self, x):
            return plain_of(self.net)(x)

    net, x, labels, v = lenet(activation), textured(4), torch.arange(4), directions(2, 4)
    explicit, ours = loss_and_gradients(net, x, labels, 0.2, v)
    generic, theirs = loss_and_gradients(Textbook(net), x, labels, 0.2, v)
    torch.testing.assert_close(explicit, generic, rtol=1e-10, atol=0)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("v", [None, "given"])
@pytest.mark.parametrize("kind", ["generic", "lenet"])
def test_lambda_zero_is_cross_entropy(kind, v):
    generic = kind == "generic"
    model, plain = (small_net(), None) if generic else (lenet(), None)
    plain = model if generic else plain_of(model)
    x, labels = (batch_of(3), torch.tensor([0, 3, 1])) if generic else (textured(3), torch.tensor([7, 2, 0]))
    given = None if v is None else (torch.ones(1, 3, 4).double() / 2 if generic else directions(1, 3))
    value, got = loss_and_gradients(model, x, labels, 0.0, given)
    assert value.item() == pytest.approx(cross_entropy_by_hand(plain(x), labels), rel=1e-12)
    expected = torch.autograd.grad(-plain(x).log_softmax(1)[range(3), labels].mean(), list(model.parameters()))
    for ours, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("model", [small_net(), lenet()], ids=["generic", "lenet"])
def test_a_positive_lambda_without_directions_is_refused(model):
    with pytest.raises(ValueError, match=r"lambda_jr is 0\.1: directions .* Got None"):
        loss_and_gradients(model, torch.zeros(2, 1, 28, 28), torch.tensor([0, 1]), 0.1)


@pytest.mark.parametrize("model", [small_net(), lenet()], ids=["generic", "lenet"])
@pytest.mark.parametrize("lam", [0.0, 0.1])
def test_loss_and_gradients_are_outside_any_graph_and_the_caller_keeps_its_images(model, lam):
    generic = not isinstance(model, LeNet)
    x = batch_of(2) if generic else textured(2)
    v = torch.full((1, 2, 4), 0.5).double() if generic else directions(1, 2)
    value, gradients = loss_and_gradients(model, x, torch.tensor([0, 1]), lam, v)
    assert not any(t.requires_grad for t in (value, *gradients))
    assert [g.shape for g in gradients] == [p.shape for p in model.parameters()]
    assert all(p.grad is None for p in model.parameters())
    assert not x.requires_grad


@pytest.mark.parametrize("projections", [1, 2])
@pytest.mark.parametrize("lam", [0.0, 0.4])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_with_dropout_both_terms_see_the_same_masked_network(activation, lam, projections):
    net, x, labels = lenet(activation, SCALINGS[1], dropout=0.3), textured(5), torch.tensor([2, 7, 1, 8, 2])
    v = directions(projections, 5)
    value, got = loss_and_gradients(net, x, labels, lam, v, torch.Generator().manual_seed(1))
    rng = torch.Generator().manual_seed(1)  # the masks that it gives
    masks = [(torch.rand(5, units, generator=rng) >= 0.3).double() / 0.7 for units in (120, 84)]
    assert all(0 < (mask == 0).double().mean() < 0.6 for mask in masks)
    z = x.clone().requires_grad_(True)
    logits = plain_lenet(dict(net.named_parameters()), z, activation, *SCALINGS[1], masks=masks)
    loss = reference_loss(logits, z, labels, lam, v)
    torch.testing.assert_close(value, loss.detach(), rtol=1e-10, atol=0)
    expected = torch.autograd.grad(loss, list(net.parameters()))
    for ours, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-12)
    without = loss_and_gradients(net, x, labels, lam, v)[0]
    assert abs(without - value) > 1e-3


@pytest.mark.parametrize("blank", [True, False], ids=["black", "square"])
@pytest.mark.parametrize("tied", [dyadic(lenet("relu")), single_tap(lenet("tanh"))], ids=["dyadic-relu", "tap-tanh"])
def test_where_pooling_ties_the_gradient_is_still_that_of_double_backward(tied, blank):
    x, labels, v = with_blank_background(blank), torch.tensor([3, 1, 4, 1]), directions(2, 4)
    value, got = loss_and_gradients(tied, x, labels, 0.5, v)
    z = x.clone().requires_grad_(True)
    loss = reference_loss(plain_of(tied)(z), z, labels, 0.5, v)
    torch.testing.assert_close(value, loss.detach(), rtol=1e-10, atol=0)
    for ours, theirs in zip(got, torch.autograd.grad(loss, list(tied.parameters())), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-10)


def test_parameters_that_the_loss_does_not_reach_get_zero_gradients():
    model = small_net()
    model.unused = nn.Linear(2, 2)  # a Sequential would call it
    model.forward = lambda x: model[2](model[1](model[0](x)))
    _, gradients = loss_and_gradients(model, batch_of(3), torch.tensor([0, 3, 1]), 0.1, directions(1, 3)[..., :4])
    assert not any(g.any() for g in gradients[-2:])
    assert all(g.any() for g in gradients[:-2])


@pytest.mark.parametrize(("dtype", "rtol", "atol"), [(torch.float64, 1e-9, 1e-12), (torch.float32, 1e-3, 1e-6)])
@pytest.mark.parametrize("lam", [0.0, 0.4])
@pytest.mark.parametrize("scaling", SCALINGS)
def test_the_shared_gradient_is_that_of_the_cross_entropy_with_respect_to_a_shift_of_all_images(
    scaling, lam, dtype, rtol, atol
):
    net, x, labels = lenet("tanh", scaling).to(dtype), textured(5, dtype=dtype), torch.tensor([3, 1, 4, 1, 5])
    v = directions(1, 5, dtype=dtype)
    value, gradients, shared = with_shared_gradient(net, x, labels, lam, v)
    shift = torch.zeros(1, 28, 28, dtype=torch.float64, requires_grad=True)
    loss = F.cross_entropy(plain_of(net.double())(x.double() + shift), labels)
    (expected,) = torch.autograd.grad(loss, shift)
    torch.testing.assert_close(shared.double(), expected, rtol=rtol, atol=atol)
    same, others = loss_and_gradients(net.to(dtype), x, labels, lam, v)
    assert torch.equal(value, same)
    assert all(map(torch.equal, gradients, others))


@pytest.mark.parametrize(("dtype", "rtol", "atol"), [(torch.float64, 1e-9, 1e-12), (torch.float32, 1e-3, 1e-6)])
def test_each_images_own_gradient(dtype, rtol, atol):
    net, x, labels = lenet("tanh", SCALINGS[1]).to(dtype), textured(3, dtype=dtype), torch.tensor([3, 1, 4])
    got = input_gradient(net, x, labels)
    z = x.double().requires_grad_(True)
    losses = -plain_of(net.double())(z).log_softmax(1)[range(3), labels]
    expected = torch.stack([torch.autograd.grad(loss, z, retain_graph=True)[0][i] for i, loss in enumerate(losses)])
    torch.testing.assert_close(got.double(), expected, rtol=rtol, atol=atol)


def test_an_images_own_gradient_is_taken_in_evaluation_mode():
    net = nn.Sequential(nn.Linear(5, 4), nn.Dropout(0.5)).double()
    x, labels = batch_of(3), torch.tensor([0, 3, 1])
    first, second = (input_gradient(net, x, labels) for _ in range(2))
    assert torch.equal(first, second)
    assert net.training
