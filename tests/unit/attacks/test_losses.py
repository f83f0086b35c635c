"""Each loss against its formula and torch's derivative, compiled and not, and against a weakness it must find."""

import math

import numpy as np
import pytest
import torch
from helpers_attacks import Wrapped, double_lenets, plain_ensemble, plain_gradients, seeded
from helpers_science import SCALINGS, give_biases, plain_of, textured
from torch import nn

import jacobian_ensembles as je
from jacobian_ensembles.attacks.losses import (
    LOSSES,
    capped_loss,
    loss_gradient,
    margin_loss,
    members_loss,
    probability_loss,
)
from jacobian_ensembles.attacks.outcome import counting_steps
from jacobian_ensembles.attacks.sgd_uap import SgdUap
from jacobian_ensembles.ensembles.ensemble import Ensemble
from jacobian_ensembles.models.compiled import rows
from jacobian_ensembles.models.lenet import LeNet, compiled

AVERAGES = {
    "logits": "logits",
    "probabilities": "probabilities",
    "median": lambda logits: logits.sort(0).values[len(logits) // 2].log_softmax(-1),
}


def lenets(count, boost=4.0):
    """Untrained nets are unsure of everything; a boost spreads their losses."""
    nets = []
    for m in range(count):
        net = give_biases(LeNet(generator=torch.Generator().manual_seed(m)), seed=m).requires_grad_(False)
        net.fc3.weight.mul_(boost)
        nets.append(net)
    return nets


def double(net):
    twin = LeNet().double().requires_grad_(False)
    twin.load_state_dict(net.state_dict())
    return twin


def written_out(loss, nets, average, x, labels, cap):
    """The mean loss of textbook networks: one image at a time, of probabilities."""
    logits = torch.stack([plain_of(net)(x) for net in nets])
    if average == "probabilities":
        p = logits.softmax(2).mean(0)
    else:
        p = (logits.mean(0) if average == "logits" else logits.median(0).values).softmax(1)
    total = 0
    for i, y in enumerate(labels.tolist()):
        if loss == "cross_entropy":
            one = -p[i, y].log()
            total = total + (one if cap is None or one < cap else cap)
        if loss == "probability":
            total = total + 1 - p[i, y]
        if loss == "margin":
            other = max(p[i, c] for c in range(10) if c != y)
            total = total + other / (other + p[i, y])  # the sigmoid of a difference of logarithms
        if loss == "members":
            for one in -logits[:, i].softmax(1)[:, y].log():
                total = total + (one if cap is None or one < cap else cap) / len(nets)
    return total / len(labels)


def test_losses_by_hand():
    log_p = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.3, 0.6]]).log()
    labels = torch.tensor([0, 1])
    assert probability_loss(log_p, labels).tolist() == pytest.approx([0.5, 0.7])
    assert margin_loss(log_p, labels).tolist() == pytest.approx([0.3 / 0.8, 0.6 / 0.9])
    both = members_loss(torch.stack([log_p, log_p.flip(1)]), labels, 1.5)
    assert both.tolist() == pytest.approx([(math.log(2) + 1.5) / 2, -math.log(0.3)])  # one learner is at its cap
    assert log_p.exp().sum(1).tolist() == pytest.approx([1, 1])  # nothing was written to


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("average", AVERAGES)
@pytest.mark.parametrize("loss", LOSSES)
def test_gradients_equal_autograd_of_the_formula_and_the_compiled_loops_agree(loss, average, targeted):
    nets = lenets(3)
    twins = [double(net) for net in nets]
    x, labels, cap = textured(12), torch.randint(10, (12,), generator=torch.Generator().manual_seed(1)), 2.5
    expected = []
    for part, y in zip(x.chunk(2), labels.chunk(2), strict=True):
        delta = torch.zeros_like(part[0]).requires_grad_(True)
        total = written_out(loss, twins, average, part + delta, y, None if targeted else cap)
        expected.append(torch.autograd.grad(-total if targeted else total, delta)[0])
    expected = torch.stack(expected)
    assert expected.abs().amax((1, 2, 3)).min() > 1e-6
    got = loss_gradient(Ensemble(twins, AVERAGES[average]), x, labels, cap, 2, loss, targeted)
    torch.testing.assert_close(got, expected, rtol=1e-8, atol=1e-12)

    x = x.float()
    assert compiled(nets, x) is not None
    fast = loss_gradient(Ensemble(nets, AVERAGES[average]), x, labels, cap, 2, loss, targeted)
    torch.testing.assert_close(fast.double(), expected, rtol=1e-3, atol=1e-5 * expected.abs().max().item())


def test_members_of_a_model_without_members_are_its_cross_entropy():
    net, x, y = nn.Sequential(nn.Flatten(), nn.Linear(784, 10)), textured(6).float(), torch.arange(6)
    ours, plain = (loss_gradient(net, x, y, 12.0, loss=loss) for loss in ("members", "cross_entropy"))
    assert torch.equal(ours, plain)


def former_gradient(model, x, labels, cap):
    """What the attack computed before it had a choice of losses, operation by operation."""
    nets = [compiled([member], x) for member in model.members]
    logits = torch.from_numpy(np.stack([net.logits(rows(x))[0] for net in nets]))
    if model.average == "logits":
        logits = logits.mean(0, keepdim=True)
    log_probabilities = logits.log_softmax(2)
    index = labels.expand(len(logits), -1)[..., None]
    true = log_probabilities.gather(2, index)
    share = true.softmax(0) / len(x)
    if cap is not None:
        share *= (math.log(len(logits)) - true.logsumexp(0)[:, 0] <= cap)[:, None]
    v = (log_probabilities.exp() * share).scatter_add(2, index, -share)
    if model.average == "logits":
        v = (v / len(nets)).expand(len(nets), -1, -1)
    each = [
        net.products(rows(x), v_m[None].contiguous().numpy(), shared=True) for net, v_m in zip(nets, v, strict=True)
    ]
    return torch.from_numpy(sum(each)).view(1, 28, 28)


@pytest.mark.parametrize("step_rule", ["constant", "decay"])
@pytest.mark.parametrize("cap", [12.0, 2.3, None])
@pytest.mark.parametrize("average", ["logits", "probabilities"])
def test_the_papers_attack_keeps_its_bytes(average, cap, step_rule):
    model, x = Ensemble(lenets(3), average), textured(30).float()
    labels = torch.randint(10, (30,), generator=torch.Generator().manual_seed(4))
    settings = SgdUap(iterations=5, batch_size=10, loss_cap=cap, step_rule=step_rule)
    (got,) = je.craft_uaps(model, x, labels, 0.1, settings, seeds=[7])
    rng = torch.Generator().manual_seed(7)
    delta, order, at = torch.zeros(1, 28, 28), torch.randperm(30, generator=rng), 0
    for i in range(5):
        if at + 10 > 30:
            order, at = torch.randperm(30, generator=rng), 0
        index, at = order[at : at + 10], at + 10
        step = 0.8 * 0.1 * (1 if step_rule == "constant" else 1 - i / 5)
        gradient = former_gradient(model, x[index] + delta, labels[index], cap)
        delta = (delta + step * gradient.sign()).clamp(-0.1, 0.1)
    assert torch.equal(got, delta)


def test_a_bounded_loss_follows_the_images_that_can_still_be_turned():
    """Of four images one is far on the wrong side: only the cross-entropy still pushes it."""

    class Two(nn.Module):
        def forward(self, x):
            z = x.flatten(1) @ torch.tensor([1.0, 100.0])  # the second pixel says which group an image is of
            return torch.stack([0 * z, z], 1)

    images = torch.tensor([[0.1, 0.0], [0.1, 0.0], [0.1, 0.0], [0.3, 0.9]]).view(4, 1, 1, 2)
    labels = torch.tensor([1, 1, 1, 0])  # the fourth is wrong by 90 nats: a step along +w loses it further
    g = {loss: loss_gradient(Two(), images, labels, None, loss=loss)[0, 0, 0, 0].item() for loss in LOSSES}
    pull = 1 / (1 + math.exp(0.1))  # of each of the first three, downwards
    assert g["cross_entropy"] == pytest.approx((1 - 3 * pull) / 4, rel=1e-4)
    assert g["probability"] == pytest.approx(-3 * pull * (1 - pull) / 4, rel=1e-4)
    assert g["margin"] == pytest.approx(-3 * pull * (1 - pull) / 4, rel=1e-4)


def hard_vote(logits):
    """Log-probabilities of the learners' votes: flat, so that no gradient comes through."""
    return nn.functional.one_hot(logits.argmax(2), logits.shape[2]).float().mean(0).clamp(min=1e-3).log()


def test_members_are_attacked_where_their_average_has_no_gradient():
    torch.manual_seed(0)
    w = torch.randn(3, 16)
    nets = [nn.Sequential(nn.Flatten(), nn.Linear(16, 2)).requires_grad_(False) for _ in range(3)]
    for net, row in zip(nets, w, strict=True):
        net[1].weight.copy_(torch.stack([0 * row, row]))
        net[1].bias.copy_(torch.stack([0 * row[0], 0.1 - 0.5 * row.sum()]))  # grey images are of class 1, just
    model = Ensemble(nets, hard_vote)
    x, y = torch.full((8, 1, 4, 4), 0.5), torch.ones(8, dtype=torch.int64)
    assert je.evaluate(model, x, y).clean_accuracy == 1
    with pytest.raises(ValueError, match="none of 10 steps"):
        je.craft_uaps(model, x, y, 0.1, SgdUap(iterations=10))
    gradient = loss_gradient(model, x, y, None, loss="members")[0]
    p = 1 / (1 + math.exp(0.1))  # every learner's probability of class 0
    torch.testing.assert_close(gradient, (-p * w.mean(0)).view(1, 4, 4))


def test_a_vote_of_lenets_is_refused_or_attacked_alike():
    model, x, y = Ensemble(lenets(3), hard_vote), textured(20).float(), torch.arange(20) % 10
    with counting_steps() as steps:
        assert not loss_gradient(model, x, y, 12.0).any()
        assert loss_gradient(model, x, y, 12.0, loss="members").any()
    assert (steps.total, steps.idle) == (2, 1)


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("loss", LOSSES)
def test_what_is_fully_reached_is_nothing_idle(loss, targeted):
    nets = lenets(2)
    for net in nets:  # all images are class 3, beyond what float32 can tell
        net.fc3.weight.zero_()
        net.fc3.bias.copy_(1e4 * (torch.arange(10) == 3))
    labels = torch.full((4,), 3 if targeted else 0)
    for model in (Ensemble(nets, "probabilities"), nn.Sequential(nets[0])):
        with counting_steps() as steps:
            assert not loss_gradient(model, textured(4).float(), labels, 12.0, 1, loss, targeted).any()
        assert (steps.total, steps.idle) == (1, 0)


@pytest.mark.parametrize(
    ("cap", "expected"), [(None, [math.log(4), math.log(4 / 3), 50]), (1.0, [1, math.log(4 / 3), 1])]
)
def test_capped_loss_by_hand(cap, expected):
    log_p = torch.tensor([[math.log(1 / 4), math.log(3 / 4)], [math.log(1 / 4), math.log(3 / 4)], [-50.0, 0.0]])
    assert capped_loss(log_p, torch.tensor([0, 1, 0]), cap).tolist() == pytest.approx(expected)


def test_a_sample_beyond_the_cap_has_no_gradient_and_one_below_keeps_its_own():
    logits = torch.tensor([[0.0, 9.0], [0.0, 1.0]], dtype=torch.float64, requires_grad=True)
    capped_loss(logits.log_softmax(1), torch.tensor([0, 0]), 5.0).sum().backward()
    p = 1 / (1 + math.exp(-1))
    assert logits.grad[0].tolist() == [0.0, 0.0]
    assert logits.grad[1].tolist() == pytest.approx([-p, p])


@pytest.mark.parametrize("kind", ["explicit", "generic"])
@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("cap", [None, 2.5])
@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize("average", ["logits", "probabilities"])
@pytest.mark.parametrize(("activation", "scaling"), [("tanh", SCALINGS[0]), ("relu", SCALINGS[1])])
def test_loss_gradient_equals_autograd_through_the_textbook_ensemble(
    activation, scaling, average, members, cap, groups, kind
):
    nets = double_lenets(members, activation, scaling, boost=4.0)
    plain = plain_ensemble(nets, average)
    x, labels = textured(12), torch.randint(10, (12,), generator=seeded(1))
    if cap is not None:
        losses = -plain(x)[range(12), labels]
        assert 0 < (losses > cap).sum() < 12  # the cap binds for some and not for all
    model = Ensemble(nets, average) if kind == "explicit" else Wrapped(plain)
    got = loss_gradient(model, x, labels, cap, groups)
    expected = plain_gradients(plain, x, labels, cap, groups)
    assert got.shape == (groups, 1, 28, 28)
    torch.testing.assert_close(got, expected, rtol=1e-8, atol=1e-12)


def test_an_ensemble_with_another_kind_of_member_has_the_right_gradient():
    linear = nn.Sequential(nn.Flatten(), nn.Linear(784, 10)).double()
    nets, x, labels = double_lenets(1), textured(6), torch.arange(6)
    plain = lambda z: torch.log((plain_of(nets[0])(z).softmax(1) + linear(z).softmax(1)) / 2)  # noqa: E731
    got = loss_gradient(Ensemble([nets[0], linear], "probabilities"), x, labels, None, 2)
    torch.testing.assert_close(got, plain_gradients(plain, x, labels, None, 2), rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("kind", ["explicit", "generic"])
def test_groups_wholly_beyond_the_cap_have_a_zero_gradient(kind):
    nets = double_lenets(2, boost=4.0)
    model = Ensemble(nets) if kind == "explicit" else Wrapped(plain_ensemble(nets, "logits"))
    x = textured(4)
    assert not loss_gradient(model, x, torch.arange(4), cap=1e-6, groups=2).any()
    assert loss_gradient(model, x, torch.arange(4), cap=None, groups=2).abs().amax((1, 2, 3)).min() > 1e-6


def test_gradients_work_inside_no_grad_and_leave_no_trace_on_the_parameters():
    nets = double_lenets(1)
    x = textured(2)
    for model in (Ensemble(nets), Wrapped(plain_ensemble(nets, "logits"))):
        with torch.no_grad():
            got = loss_gradient(model, x, torch.arange(2), None)
        assert got.abs().max() > 0
        assert not got.requires_grad
    assert all(p.grad is None for p in nets[0].parameters())
    assert not x.requires_grad
