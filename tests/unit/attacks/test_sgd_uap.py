import numpy as np
import pytest
import torch
from helpers_attacks import Wrapped, double_lenets, plain_ensemble, plain_gradients, seeded
from helpers_science import (
    patch_corner,
    patch_dataset,
    textured,
)
from torch import nn

from jacobian_ensembles.attacks import ascent
from jacobian_ensembles.attacks.ascent import batches, initial_perturbation, project
from jacobian_ensembles.attacks.crafting import craft_uaps
from jacobian_ensembles.attacks.draws import Draws
from jacobian_ensembles.attacks.sgd_uap import SgdUap
from jacobian_ensembles.ensembles.ensemble import Ensemble

INITS = ["zero", "uniform", "sign"]


def test_projection_clamps_each_pixel_to_the_radius():
    delta = torch.tensor([[-3.0, -0.5, -0.2], [0.0, 0.5, 7.0]])
    assert torch.equal(project(delta, 0.5), torch.tensor([[-0.5, -0.5, -0.2], [0.0, 0.5, 0.5]]))


@pytest.mark.parametrize(("size", "batch"), [(12, 4), (12, 12), (12, 1)])
def test_every_epoch_of_batches_is_another_permutation(size, batch):
    per_epoch = size // batch
    drawn = list(batches(size, batch, 3 * per_epoch, Draws(0)))
    epochs = [np.concatenate(drawn[i : i + per_epoch]).tolist() for i in range(0, len(drawn), per_epoch)]
    assert len(epochs) == 3
    assert all(sorted(epoch) == list(range(size)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_a_remainder_too_small_for_a_batch_is_dropped_and_nothing_repeats_before():
    drawn = list(batches(11, 4, 50, Draws(0)))
    assert [len(index) for index in drawn] == [4] * 50
    left_out = []
    for first, second in zip(drawn[::2], drawn[1::2], strict=True):
        seen = set(np.concatenate([first, second]).tolist())
        assert len(seen) == 8
        assert seen <= set(range(11))
        left_out.append(set(range(11)) - seen)
    assert set.union(*left_out) == set(range(11))  # no image is left out for good


def test_a_batch_larger_than_the_set_is_the_set():
    drawn = list(batches(5, 200, 3, Draws(0)))
    assert [sorted(index.tolist()) for index in drawn] == [[0, 1, 2, 3, 4]] * 3


def test_initial_perturbations_are_zero_uniform_or_signs():
    shape, eps = (1, 100, 100), 0.2
    assert not initial_perturbation(shape, eps, "zero", Draws(0)).any()

    uniform = initial_perturbation(shape, eps, "uniform", Draws(0)).astype(float)
    assert uniform.shape == shape
    ordered = np.sort(uniform.flatten())
    ideal = (np.arange(10_000) + 0.5) / 10_000 * 2 * eps - eps
    # Kolmogorov-Smirnov: the largest gap of 10,000 uniform draws exceeds 2 / 100 of the range once in 1500 times
    assert np.abs(ordered - ideal).max() < 2 * eps * 0.02
    assert np.abs(uniform).max() <= eps + 1e-7

    sign = initial_perturbation(shape, eps, "sign", Draws(0))
    assert np.unique(sign).tolist() == pytest.approx([-eps, eps])
    assert abs((sign > 0).mean() - 0.5) < 4.5 * 0.005


@pytest.mark.parametrize("init", ["uniform", "sign"])
def test_initial_perturbations_depend_on_their_generator_only(init):
    first = initial_perturbation((1, 28, 28), 0.1, init, Draws(3))
    assert np.array_equal(first, initial_perturbation((1, 28, 28), 0.1, init, Draws(3)))
    assert not np.array_equal(first, initial_perturbation((1, 28, 28), 0.1, init, Draws(4)))
    # a smaller radius shrinks the same draw
    np.testing.assert_allclose(initial_perturbation((1, 28, 28), 0.05, init, Draws(3)), first / 2, rtol=1e-6)


def test_an_unknown_initialisation_is_refused():
    with pytest.raises(ValueError, match=r"'zero', 'uniform' or 'sign'\. Got 'ones'"):
        initial_perturbation((1, 2, 2), 0.1, "ones", Draws(0))


class TwoClass(nn.Module):
    """Log-probabilities of a linear two-class model on 2x2 images, whose loss of class 0 always rises along ``w``."""

    w = torch.tensor([1.0, -2.0, 0.5, -0.1])

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, x):
        self.seen.append(x.detach().clone())
        score = x.flatten(1) @ self.w
        return torch.stack([torch.zeros_like(score), score], 1).log_softmax(1)


def craft_linear(images=None, seeds=(0,), **settings):
    model = TwoClass()
    images = torch.full((8, 1, 2, 2), 0.5) if images is None else images
    attack = SgdUap(**{"batch_size": 4, "iterations": 3, **settings})
    labels = torch.zeros(len(images), dtype=torch.int64)
    return craft_uaps(model, images, labels, 0.1, attack, seeds), model


@pytest.mark.parametrize(
    ("rule", "iterations", "reached"),
    # tenths of eps: four steps of 1; or 1 + 3/4 + 1/2 + 1/4; and no more than eps however many steps
    [("constant", 4, 0.4), ("decay", 4, 0.25), ("constant", 30, 1.0), ("decay", 30, 1.0), ("constant", 1, 0.1)],
)
def test_steps_add_up_as_their_rule_says(rule, iterations, reached):
    (delta,), _ = craft_linear(step=0.1, step_rule=rule, iterations=iterations)
    expected = 0.1 * reached * TwoClass.w.sign().view(1, 2, 2)
    torch.testing.assert_close(delta, expected)


def test_without_steps_the_start_is_returned_and_no_gradient_taken():
    deltas, model = craft_linear(seeds=(0, 1), init="sign", iterations=0)
    assert deltas.abs().unique().tolist() == pytest.approx([0.1])
    assert not torch.equal(*deltas)
    assert all(len(x) == 8 for x in model.seen)  # the check of its scores, no step


@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize("init", INITS)
def test_clipping_does_not_stop_the_gradient_of_pixels_at_their_bound(value, init):
    # a perturbation that starts at -eps on a black pixel has a true derivative of zero and would stay there
    (delta,), _ = craft_linear(torch.full((8, 1, 2, 2), value), clip=True, init=init, iterations=5)
    torch.testing.assert_close(delta, 0.1 * TwoClass.w.sign().view(1, 2, 2))


@pytest.mark.parametrize("clip", [True, False])
def test_the_gradient_is_taken_at_the_clipped_input_when_clipping_is_on(clip):
    images = torch.tensor([0.0, 1.0, 0.02, 0.98]).view(1, 1, 2, 2).repeat(8, 1, 1, 1)
    _, model = craft_linear(images, clip=clip, init="sign", iterations=4)
    seen = torch.cat(model.seen)
    assert bool(((seen >= 0) & (seen <= 1)).all()) == clip
    delta = 0.1 * TwoClass.w.sign().view(1, 2, 2)
    settled = images[:4] + delta
    torch.testing.assert_close(model.seen[-1], settled.clamp(0, 1) if clip else settled)


def written_out_attack(log_probabilities, images, labels, eps, settings, seed):
    """One perturbation by the definition: plain autograd, one image batch at a time."""
    rng = seeded(seed)
    size = images.shape[1:]
    delta = torch.zeros(size)
    if settings.init != "zero":
        draw = torch.rand(size, generator=rng) * 2 - 1
        delta = eps * (draw.sign() if settings.init == "sign" else draw)
    delta, order, at = delta.double(), torch.randperm(len(images), generator=rng), 0
    for i in range(settings.iterations):
        if at + settings.batch_size > len(images):
            order, at = torch.randperm(len(images), generator=rng), 0
        index = order[at : at + settings.batch_size]
        at += settings.batch_size
        x = images[index] + delta
        x = torch.minimum(torch.maximum(x, torch.zeros(())), torch.ones(())) if settings.clip else x
        (g,) = plain_gradients(log_probabilities, x, labels[index], settings.loss_cap, 1)
        factor = 1 - i / settings.iterations if settings.step_rule == "decay" else 1
        delta = torch.minimum(torch.maximum(delta + factor * settings.step * eps * g.sign(), -torch.tensor(eps)),
                              torch.tensor(eps))  # fmt: skip
    return delta


@pytest.mark.parametrize(
    ("average", "settings"),
    [
        ("logits", {"init": "zero"}),
        ("probabilities", {"init": "uniform", "step": 0.3, "step_rule": "decay"}),
        ("logits", {"init": "sign", "clip": True, "loss_cap": None}),
        ("probabilities", {"init": "sign", "loss_cap": 2.3, "step_rule": "decay"}),
    ],
)
def test_crafted_perturbations_follow_the_written_out_attack(average, settings):
    nets = double_lenets(2, boost=3.0)
    images, labels = textured(20), torch.randint(10, (20,), generator=seeded(4))
    attack = SgdUap(iterations=7, batch_size=6, **settings)
    got = craft_uaps(Ensemble(nets, average), images, labels, 0.1, attack, [5, 9])
    assert got.shape == (2, 1, 28, 28)
    for delta, seed in zip(got, (5, 9), strict=True):
        expected = written_out_attack(plain_ensemble(nets, average), images, labels, 0.1, attack, seed)
        torch.testing.assert_close(delta.double(), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("groups", [2, 4])
@pytest.mark.parametrize("kind", ["explicit", "generic"])
@pytest.mark.parametrize("settings", [{"init": "uniform"}, {"init": "zero", "clip": True, "step_rule": "decay"}])
def test_perturbations_crafted_side_by_side_equal_those_crafted_alone(groups, kind, settings):
    nets = double_lenets(2, boost=3.0)
    model = Ensemble(nets, "probabilities") if kind == "explicit" else Wrapped(plain_ensemble(nets, "probabilities"))
    images, labels = textured(15), torch.randint(10, (15,), generator=seeded(4))
    attack = SgdUap(iterations=6, batch_size=4, **settings)
    together = craft_uaps(model, images, labels, 0.1, attack, range(groups), side_by_side=groups)
    for g in range(groups):
        alone = craft_uaps(model, images, labels, 0.1, attack, [g], side_by_side=1)
        torch.testing.assert_close(together[g], alone[0], rtol=0, atol=1e-9)
    assert (together[0] - together[1]).abs().max() > 0.01


def test_out_of_memory_halves_what_is_crafted_side_by_side_and_changes_nothing(monkeypatch, caplog):
    model, images, labels = small_problem()
    attack = SgdUap(iterations=5, batch_size=8)
    expected = craft_uaps(model, images, labels, 0.1, attack, range(7))
    tried = []

    before = ascent.ascend

    def two_at_most(*args):
        tried.append(len(args[5]))
        if len(args[5]) > 2:
            raise torch.OutOfMemoryError("a small device")
        return before(*args)

    monkeypatch.setattr(ascent, "ascend", two_at_most)
    got = craft_uaps(model, images, labels, 0.1, attack, range(7), side_by_side=7)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-6)
    assert tried == [7, 4, 2, 2, 2, 1]
    assert "out of memory; going on with 4" in caplog.text


def test_out_of_memory_with_one_perturbation_is_an_error(monkeypatch):
    def never(*args):
        raise torch.OutOfMemoryError("no memory at all")

    monkeypatch.setattr(ascent, "ascend", never)
    model, images, labels = small_problem()
    with pytest.raises(torch.OutOfMemoryError):
        craft_uaps(model, images, labels, 0.1, SgdUap(iterations=1), [0, 1, 2], side_by_side=2)


def small_problem():
    nets = [net.float() for net in double_lenets(2, boost=3.0)]
    return Ensemble(nets), textured(30, dtype=torch.float32), torch.randint(10, (30,), generator=seeded(4))


@pytest.mark.parametrize("init", INITS)
def test_a_seeds_perturbation_is_the_same_bits_alone_or_with_others(init):
    model, images, labels = small_problem()
    attack = SgdUap(iterations=5, batch_size=8, init=init)
    torch.manual_seed(0)
    together = craft_uaps(model, images, labels, 0.1, attack, [3, 1, 2])
    torch.manual_seed(1)
    for k, seed in enumerate((3, 1, 2)):
        assert torch.equal(craft_uaps(model, images, labels, 0.1, attack, [seed])[0], together[k])
    assert torch.equal(craft_uaps(model, images, labels, 0.1, attack, [2, 1, 3]), together.flip(0))
    assert len({tuple(delta.flatten().tolist()) for delta in together}) == 3


@pytest.mark.parametrize("eps", [0.05, 0.3])
@pytest.mark.parametrize("init", INITS)
@pytest.mark.parametrize("rule", ["constant", "decay"])
def test_perturbations_reach_the_radius_and_stay_within_it(eps, init, rule):
    model, images, labels = small_problem()
    attack = SgdUap(iterations=6, batch_size=8, init=init, step_rule=rule)
    got = craft_uaps(model, images, labels, eps, attack, [0, 1])
    radius = torch.tensor(eps, dtype=torch.float32)
    assert got.abs().amax((1, 2, 3)).tolist() == [radius.item()] * 2


def test_images_and_model_are_left_as_they_were():
    model, images, labels = small_problem()
    before, weights = images.clone(), [p.clone() for p in model.parameters()]
    craft_uaps(model, images, labels, 0.1, SgdUap(iterations=3, batch_size=8, clip=True), [0])
    assert torch.equal(images, before)
    assert all(torch.equal(p, w) and p.grad is None for p, w in zip(model.parameters(), weights, strict=True))


class Weakness(nn.Module):
    """Reads the class off bright patches, and says "eleventh class" when a fixed sign pattern shows.

    A perturbation of radius eps shifts the pattern's mean correlation by eps when it is the pattern, and by
    about eps / 28 when it is noise.
    """

    def __init__(self):
        super().__init__()
        self.pattern = torch.where(torch.rand(28, 28, generator=seeded(77)) < 0.5, -1.0, 1.0)
        self.templates = torch.zeros(10, 28, 28)
        for label in range(10):
            top, left = patch_corner(label)
            self.templates[label, top : top + 5, left : left + 5] = 8 / 25
        self.outside = self.templates.sum(0) == 0

    def forward(self, x):
        classes = torch.einsum("bhw,chw->bc", x.squeeze(1), self.templates)
        weak = 80 * (x.squeeze(1) * (self.pattern * self.outside)).mean((1, 2))
        return torch.cat([classes, weak[:, None]], 1).log_softmax(1)


@pytest.mark.parametrize("settings", [{"init": "zero"}, {"init": "sign", "step": 0.2, "step_rule": "decay"}])
def test_a_planted_universal_weakness_is_found_and_noise_does_not_trigger_it(settings):
    model, eps = Weakness(), 0.2
    images, labels = patch_dataset(200, seed=0)
    unseen, unseen_labels = patch_dataset(200, seed=1)

    def accuracy(delta):
        return (model(unseen + delta).argmax(1) == unseen_labels).double().mean().item()

    attack = SgdUap(iterations=30, batch_size=50, **settings)
    crafted = craft_uaps(model, images, labels, eps, attack, [0, 1])
    noise = [eps * torch.where(torch.rand(1, 28, 28, generator=seeded(s)) < 0.5, -1.0, 1.0) for s in range(20)]
    assert accuracy(torch.zeros(1, 28, 28)) == 1.0
    assert min(accuracy(delta) for delta in noise) > 0.95
    for delta in crafted:
        assert accuracy(delta) < 0.02
        agreement = (delta[0].sign() == model.pattern)[model.outside].double().mean()
        assert agreement > 0.99  # it found the pattern itself
