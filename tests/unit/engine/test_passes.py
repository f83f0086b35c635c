"""Whole passes against float64 automatic differentiation of the textbook network."""

import numpy as np
import pytest
import torch
from helpers_science import (
    ACTIVATIONS,
    SCALINGS,
    directions,
    dyadic,
    give_biases,
    jacobians,
    plain_of,
    single_tap,
    textured,
    with_blank_background,
)

import jacobian_ensembles as je
from jacobian_ensembles.attacks.losses import LOSSES, loss_gradient
from jacobian_ensembles.ensembles.ensemble import Ensemble
from jacobian_ensembles.evaluation.accuracy import correct
from jacobian_ensembles.models.compiled import rows
from jacobian_ensembles.models.jacobian import exact_jacobian, linearize
from jacobian_ensembles.models.lenet import LeNet, compiled
from jacobian_ensembles.training.objectives.derivatives import loss_and_gradients, with_shared_gradient

passes = pytest.importorskip("jacobian_ensembles.engine.passes", reason="numba is missing", exc_type=ImportError)


def make(activation="tanh", scaling=(0.0, 1.0), **options):
    return give_biases(LeNet(activation, 0.0, *scaling, generator=torch.Generator().manual_seed(0), **options))


def double(net):
    """The same network in float64, where nothing is compiled."""
    twin = LeNet(net.activation, net.dropout, net.mean, net.std, net.fc3.out_features).double()
    twin.load_state_dict(net.state_dict())
    return twin


def images(batch, seed=0):
    return textured(batch, seed, torch.float32)


def vectors(batch, classes=10, seed=2):
    return torch.randn(batch, classes, generator=torch.Generator().manual_seed(seed))


def close(ours, expected, tolerance=2e-6):
    """Equal to float32's rounding, by the largest entry: sums of many terms cancel."""
    assert ours.dtype == torch.float32
    assert ours.shape == expected.shape
    error = (ours.double() - expected).abs().max() / expected.abs().max().clamp(min=1e-30)
    assert error < tolerance


def lenet_ensemble(count):
    return Ensemble([LeNet(generator=torch.Generator().manual_seed(m)).requires_grad_(False) for m in range(count)])


def shared(net, x, v):
    """The sum of v^T J over images, as the attack needs it."""
    networks = compiled([net], x)
    found = torch.from_numpy(networks.products(rows(x), v[None].numpy(), shared=True))
    assert torch.equal(found, torch.from_numpy(networks.products(rows(x), v[None].numpy(), shared=True)))
    return found.view(1, 28, 28)


@pytest.mark.parametrize("batch", [1, 15, 16, 17, 41, 200])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_logits_and_products_with_the_jacobian_at_any_batch_size(activation, batch):
    net, x, v = make(activation, SCALINGS[1]), images(batch), vectors(batch)
    z = x.double().requires_grad_(True)
    logits = plain_of(double(net))(z)
    (vj,) = torch.autograd.grad((logits * v).sum(), z)
    at = linearize(net, x)
    close(at.logits, logits)
    close(at.products(v[None])[0], vj)
    close(shared(net, x, v), vj.sum(0))


@pytest.mark.parametrize("classes", [2, 7, 10, 12])
def test_any_number_of_classes(classes):
    net, x, labels = make(classes=classes), images(5), torch.arange(5) % classes
    v = vectors(5, classes)
    assert net(x).shape == (5, classes)
    expected = torch.einsum("bc,bcd->bd", v.double(), jacobians(double(net), x.double())).view_as(x)
    close(linearize(net, x).products(v[None])[0], expected)
    ours, theirs = (
        loss_and_gradients(n, z, labels, 0.3, v[None].to(z)) for n, z in ((net, x), (double(net), x.double()))
    )
    for a, b in zip(ours[1], theirs[1], strict=True):
        close(a, b)


def test_the_jacobian_is_the_exact_one():
    net, x = make(), images(3)
    close(exact_jacobian(net, x), jacobians(double(net), x.double()))


@pytest.mark.parametrize("batch", [6, 50])
@pytest.mark.parametrize("projections", [0, 1, 3])
@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_training_gradients_equal_double_backward_in_float64(activation, scaling, projections, batch):
    net, x, labels, lam = make(activation, scaling), images(batch), torch.arange(batch) % 10, 0.5 * bool(projections)
    v = directions(projections, batch) if projections else None
    value, ours = loss_and_gradients(net, x, labels, lam, None if v is None else v.float())
    expected, theirs = loss_and_gradients(double(net), x.double(), labels, lam, v)
    assert value.item() == pytest.approx(expected.item(), rel=1e-6)
    for a, b in zip(ours, theirs, strict=True):
        close(a, b)


@pytest.mark.parametrize("lam", [0.0, 0.4])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_dropout_draws_the_textbook_networks_masks(activation, lam):
    net, x, labels = make(activation), images(37), torch.arange(37) % 10
    net.dropout, v = 0.4, directions(2, 37)
    twin = double(net)
    value, ours = loss_and_gradients(net, x, labels, lam, v.float(), torch.Generator().manual_seed(1))
    expected, theirs = loss_and_gradients(twin, x.double(), labels, lam, v, torch.Generator().manual_seed(1))
    assert value.item() == pytest.approx(expected.item(), rel=1e-6)
    assert abs(value - loss_and_gradients(net, x, labels, lam, v.float())[0]) > 1e-3
    for a, b in zip(ours, theirs, strict=True):
        close(a, b)


@pytest.mark.parametrize("blank", [True, False], ids=["black", "square"])
@pytest.mark.parametrize("net", [dyadic(make("relu")), single_tap(make())], ids=["dyadic-relu", "tap-tanh"])
def test_ties_in_pooling_are_won_by_the_first_pixel_as_in_max_pool2d(net, blank):
    x, v = with_blank_background(blank).float(), vectors(4)
    exact = torch.einsum("bc,bcd->bd", v.double(), jacobians(double(net), x.double())).view_as(x)
    assert exact.abs().amax((1, 2, 3)).min() > 0  # else nothing would be compared
    close(linearize(net, x).products(v[None])[0], exact)
    close(shared(net, x, v), exact.sum(0))


@pytest.mark.parametrize("scaling", [(0.0, 1.0), (0.13, 0.31)])
@pytest.mark.parametrize("seed", range(3))
def test_equal_patches_tie_although_their_sums_are_rounded(scaling, seed):
    rng = torch.Generator().manual_seed(seed)
    net = give_biases(LeNet("tanh", 0.0, *scaling, generator=rng), seed)
    x = torch.zeros(2, 1, 28, 28)
    x[1:, :, 6:20, 9:15] = torch.rand(14, 6, generator=rng)
    networks = compiled([net], x)
    networks.logits(rows(x))
    *_, winners, _ = networks._work  # as the pass left it
    won = winners[:1176].reshape(6, 14, 14, -1)
    # windows in the border see padding, those in the square its texture; in between all four pixels see one colour
    assert not won[:, 1:13, 1:13, 0].any()
    assert won[:, 3:10, 4:8, 1].any()


def test_a_group_has_the_same_bytes_alone_and_among_others():
    model = lenet_ensemble(3)
    x, labels = images(120), torch.arange(120) % 10
    together = loss_gradient(model, x, labels, 12.0, groups=3)
    alone = [loss_gradient(model, x[g : g + 40], labels[g : g + 40], 12.0) for g in (0, 40, 80)]
    assert torch.equal(together, torch.cat(alone))


@pytest.mark.parametrize("average", ["logits", "probabilities"])
@pytest.mark.parametrize("members", [1, 3])
def test_the_attacks_gradient_with_a_cap_that_binds(members, average):
    nets = lenet_ensemble(members).members
    for net in nets:
        net.fc3.weight.mul_(4.0)
    x, labels = images(24), torch.arange(24) % 10
    twin = Ensemble([double(net).requires_grad_(False) for net in nets], average)
    losses = -twin(x.double())[range(24), labels]
    cap = losses.sort().values[11:13].mean().item()
    got = loss_gradient(Ensemble(nets, average), x, labels, cap, 2)
    close(got, loss_gradient(twin, x.double(), labels, cap, 2), 1e-5)


def test_equal_inputs_give_equal_bytes_and_results_do_not_alias():
    net, x, labels, v = make(), images(50), torch.arange(50) % 10, directions(1, 50, dtype=torch.float32)
    first = loss_and_gradients(net, x, labels, 0.1, v)[1]
    kept = [g.clone() for g in first]
    at, other = net(x).detach(), net(images(50, seed=9)).detach()
    assert not torch.equal(at, other)
    torch.testing.assert_close(at, net(x).detach(), rtol=0, atol=0)
    again = loss_and_gradients(net, x, labels, 0.1, v)[1]
    assert all(torch.equal(a, b) and torch.equal(a, c) for a, b, c in zip(first, kept, again, strict=True))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_numbers_that_are_none_reach_the_loss_and_crash_nothing(activation, bad):
    net, x = make(activation), images(34)
    x[3, 0, 5, 5] = bad
    logits = linearize(net, x).logits
    assert logits[:3].isfinite().all()
    assert logits[4:].isfinite().all()
    with torch.no_grad():
        net.conv2.weight[0, 0, 0, 0] = float("nan")
    value, gradients = loss_and_gradients(net, x, torch.arange(34) % 10, 0.1, directions(1, 34, dtype=torch.float32))
    assert not value.isfinite()
    assert not all(g.isfinite().all() for g in gradients)


@pytest.mark.parametrize("average", ["logits", "probabilities"])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("members", [1, 3])
def test_every_loss_with_a_cap_and_towards_a_class(members, loss, average):
    nets = [make(scaling=SCALINGS[1]) for _ in range(members)]
    for i, net in enumerate(nets):
        give_biases(net, i)
    x, labels = images(37), torch.arange(37) % 10
    twin, ours = Ensemble([double(net).requires_grad_(False) for net in nets], average), Ensemble(nets, average)
    for cap in (None, 2.3):
        close(loss_gradient(ours, x, labels, cap, 1, loss), loss_gradient(twin, x.double(), labels, cap, 1, loss))
    aims = torch.full_like(labels, 4)
    expected = loss_gradient(twin, x.double(), aims, 12.0, 1, loss, targeted=True)
    close(loss_gradient(ours, x, aims, 12.0, 1, loss, targeted=True), expected)


def test_classes_under_perturbations_clipped_and_not():
    model = lenet_ensemble(3)
    twin = Ensemble([double(net).requires_grad_(False) for net in model.members])
    x, labels, deltas = images(41), torch.arange(41) % 10, 0.4 * torch.randn(3, 1, 28, 28)
    for clip in (False, True):
        got = correct(model, x, labels, deltas, clip)
        assert torch.equal(got, correct(twin, x.double(), labels, deltas.double(), clip))
        assert 0 < got.sum() < got.numel()
    with pytest.raises(ValueError, match="returned NaN for perturbed images"):
        correct(model, x, labels, deltas * float("nan"), False)


@pytest.mark.parametrize("lam", [0.0, 0.3])
def test_the_shared_gradient_of_training_is_that_of_the_cross_entropy_alone(lam):
    net, x, labels, v = make(), images(37), torch.arange(37) % 10, directions(1, 37)
    _, _, got = with_shared_gradient(net, x, labels, lam, v.float())
    _, _, expected = with_shared_gradient(double(net), x.double(), labels, lam, v)
    close(got, expected)


def test_options_of_an_attack_compute_what_other_models_get():
    """The engine's loop against the general one, which a model that the engine does not know goes through."""
    nets = [LeNet(generator=torch.Generator().manual_seed(m)).requires_grad_(False) for m in range(2)]

    class Other(torch.nn.Module):
        def forward(self, x):
            return Ensemble(nets)(x)

    x, y = images(60), torch.arange(60) % 10
    for options in (
        {"norm": "l2", "momentum": 0.9, "step_rule": "decay"},
        {"inner_batches": 3, "clip": True, "init": "uniform"},
        {"norm": "l2", "inner_batches": 2, "target": "each", "loss": "margin"},
        {"momentum": 0.5, "init": "sign", "target": "class", "loss": "probability"},
    ):
        ours, theirs = (
            je.craft_uaps(model, x, y, 0.2, seeds=[3, 4], iterations=6, batch_size=20, **options)
            for model in (Ensemble(nets), Other())
        )
        assert (ours - theirs).abs().gt(2e-5).float().mean() < 0.01, options  # signs of what is all but zero


def test_products_and_training_are_of_one_network():
    networks = compiled(list(lenet_ensemble(2).members), images(1))
    with pytest.raises(ValueError, match=r"products are of one network. Got 2"):
        networks.products(rows(images(1)), np.zeros((1, 1, 10), np.float32))
    with pytest.raises(ValueError, match=r"training is of one network. Got 2"):
        passes.training_gradient(networks, rows(images(1)), np.zeros(1, np.int64))
