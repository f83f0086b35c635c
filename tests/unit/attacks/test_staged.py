"""The staged attack: its budget, its judges, what it finds that plain seeds do not, and how a run asks for it."""

import re

import pytest
import torch
from torch import nn

import jacobian_ensembles as je
from jacobian_ensembles.attacks.ascent import ascend
from jacobian_ensembles.attacks.outcome import counting_steps
from jacobian_ensembles.attacks.sgd_uap import SgdUap
from jacobian_ensembles.attacks.staged import Staged
from jacobian_ensembles.config.attack import Attack, variant_of
from jacobian_ensembles.config.cells import Cell
from jacobian_ensembles.ensembles.ensemble import Ensemble
from jacobian_ensembles.models.lenet import LeNet
from jacobian_ensembles.stages.craft_uaps import craft_uaps as craft_stage
from jacobian_ensembles.storage.perturbations import load_uaps


def linear(classes=4, size=9, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(size, classes)).requires_grad_(False)


X, Y = torch.rand(60, 1, 3, 3, generator=torch.Generator().manual_seed(0)), torch.arange(60) % 4
SMALL = {"budget": 4, "iterations": 20, "batch_size": 10}


@pytest.mark.parametrize(
    ("options", "plan"),
    [
        # 5000 steps in four rounds of 1250: 100 ** (1 - r / 3) perturbations, 1250 over that number each
        ({}, [(100, 12), (22, 56), (5, 250), (1, 1318)]),
        ({"budget": 5}, [(10, 12), (5, 25), (2, 62), (1, 131)]),
        ({"budget": 1, "starts": 4, "rounds": 2}, [(4, 12), (1, 52)]),
        ({"budget": 2, "starts": 1, "rounds": 2}, [(1, 100), (1, 100)]),
        ({"budget": 2, "iterations": 5}, [(2, 1), (2, 1), (1, 2), (1, 4)]),
    ],
)
def test_the_plan_spends_the_whole_budget(options, plan):
    settings = Staged(**options)
    assert settings.plan == plan
    assert sum(count * length for count, length in settings.plan) == settings.budget * settings.iterations


@pytest.mark.parametrize("targeted", [0, 0.3, 1])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_steps_are_the_budget_and_the_choice_is_within_eps(norm, targeted):
    with counting_steps() as steps:
        deltas = je.craft_uaps(
            linear(), X, Y, 0.2, attack="staged", seeds=[3, 4], norm=norm, targeted=targeted, **SMALL
        )
    assert (steps.total, steps.images) == (2 * 4 * 20, 2 * 4 * 20 * 10)  # two perturbations of four attacks' cost
    assert deltas.shape == (2, 1, 3, 3)
    sizes = deltas.abs().amax((1, 2, 3)) if norm == "linf" else deltas.square().mean((1, 2, 3)).sqrt()
    assert sizes.max() <= 0.2 * (1 + 1e-6)


def test_a_seed_fixes_the_result_whoever_is_crafted_beside_it():
    model = linear()
    first, second = je.craft_uaps(model, X, Y, 0.2, attack="staged", seeds=[3, 4], **SMALL)
    assert torch.equal(je.craft_uaps(model, X, Y, 0.2, attack="staged", seeds=[4], first=7, **SMALL)[0], second)
    assert not torch.equal(first, second)
    together = je.craft_uaps(model, X, Y, 0.2, attack="staged", seeds=[3], side_by_side=20, **SMALL)
    torch.testing.assert_close(together[0], first, rtol=0, atol=1e-6)


class Seen(nn.Module):
    """A linear model that notes which images it was asked about, for gradients and 12 at a time; pixel 0 says which."""

    def __init__(self):
        super().__init__()
        self.net, self.stepped, self.judged = linear(), set(), set()

    def forward(self, x):
        which = (x[:, 0, 0, 0].detach() * 1000).round().int().tolist()
        if x.requires_grad:
            self.stepped.update(which)
        elif len(x) == 12:
            self.judged.update(which)
        return self.net(x)


def test_images_that_judge_are_not_those_of_the_steps():
    images = X.clone()
    images[:, 0, 0, 0] = torch.arange(60) / 1000
    model = Seen()
    je.craft_uaps(model, images, Y, 1e-5, attack="staged", **SMALL)
    assert len(model.judged) == 12  # a fifth, the same in every round
    assert model.stepped == set(range(60)) - model.judged


def test_it_is_many_short_attacks_of_which_the_best_on_the_judges_goes_on():
    """Two rounds written out, from the same draws."""
    model, eps = linear(), 0.1
    options = {"budget": 1, "iterations": 16, "batch_size": 10, "starts": 4, "rounds": 2, "targeted": 0.5, "step": 0.5}
    (got,) = je.craft_uaps(model, X, Y, eps, attack="staged", seeds=[8], **options)
    rng = torch.Generator().manual_seed(8)
    order = torch.randperm(60, generator=rng)
    judges, used = order[:12], order[12:]
    classes = torch.randperm(4, generator=rng)[:2].numpy()
    plain, aimed, last = (torch.randint(2**62, (n,), generator=rng).tolist() for n in (2, 2, 1))
    how = SgdUap(iterations=2, batch_size=10, step=0.5, step_rule="decay", init="uniform", loss="margin")
    starts = [ascend(model, X[used], Y[used], eps, how, [seed]) for seed in plain]
    starts += [ascend(model, X[used], Y[used], eps, how, [seed], classes[i : i + 1]) for i, seed in enumerate(aimed)]
    right = [(model(X[judges] + delta).argmax(1) == Y[judges]).sum().item() for delta in starts]
    best = starts[right.index(min(right))]
    longer = how.model_copy(update={"iterations": 8})
    expected = ascend(model, X[used], Y[used], eps, longer, last, start=best)
    torch.testing.assert_close(got, expected[0], rtol=0, atol=1e-6)


class Decoy(nn.Module):
    """Class 0 for grey images. Scores of class 1 grow fast but stay below; the opposite direction ends in class 2."""

    def forward(self, x):
        along = (x - 0.5).flatten(1).mean(1) / 0.1  # in [-1, 1] for an eps of 0.1
        return torch.stack([0 * along, -1 + 0.9 * torch.tanh(3 * along), -9 - 12 * along], 1)


@pytest.mark.parametrize("loss", ["cross_entropy", "probability", "margin"])
def test_a_start_towards_a_class_finds_what_plain_seeds_do_not(loss):
    model, x, y = Decoy(), torch.full((40, 1, 8, 8), 0.5), torch.zeros(40, dtype=torch.int64)
    plain = je.craft_uaps(model, x, y, 0.1, loss=loss, init="uniform", seeds=range(10), iterations=10, batch_size=10)
    assert je.evaluate(model, x, y, plain).accuracies.min() == 1  # all ten follow the decoy
    options = {"budget": 10, "iterations": 20, "batch_size": 10, "loss": loss}
    without = je.craft_uaps(model, x, y, 0.1, attack="staged", targeted=0, **options)
    assert je.evaluate(model, x, y, without).worst_accuracy == 1
    found = je.craft_uaps(model, x, y, 0.1, attack="staged", **options)
    assert je.evaluate(model, x, y, found).worst_accuracy == 0


def test_it_takes_the_compiled_loops_and_automatic_differentiation_alike():
    torch.manual_seed(0)
    nets = [LeNet().requires_grad_(False).eval() for _ in range(2)]
    compiled = Ensemble(nets, "probabilities")

    class Plain(nn.Module):
        def forward(self, x):
            return Ensemble([nn.Sequential(net) for net in nets], "probabilities")(x)

    x = torch.rand(50, 1, 28, 28, generator=torch.Generator().manual_seed(1))
    y = compiled(x).argmax(1)
    options = {"budget": 1, "iterations": 8, "batch_size": 20, "starts": 2, "rounds": 2}
    got, want = (je.craft_uaps(model, x, y, 0.3, attack="staged", **options) for model in (compiled, Plain()))
    assert (got - want).abs().gt(1e-5).float().mean() < 0.02  # signs of gradients that are all but zero may differ


def test_what_cannot_be_attacked_is_refused():
    class Rounds(nn.Module):
        def forward(self, x):
            return x.flatten(1)[:, :4].round()

    with pytest.raises(ValueError, match="none of 80 steps had a finite gradient"):
        je.craft_uaps(Rounds(), X, Y, 0.1, attack="staged", **SMALL)
    with pytest.raises(ValueError, match=r"staged needs 5 images or more, some to judge by. Got 4"):
        je.craft_uaps(linear(), X[:4], Y[:4], 0.1, attack="staged", **SMALL)
    with pytest.raises(ValueError, match=r"attack must be one of sgd, staged, square, or your own. Got 'stagd'"):
        je.craft_uaps(linear(), X, Y, 0.1, attack="stagd")
    with pytest.raises(ValueError, match="starts: got 41, more than 4 x 20 steps in 2 rounds suffice for"):
        Staged(budget=4, iterations=20, rounds=2, starts=41)


def test_a_run_spends_its_seeds_on_one_perturbation():
    attack = Attack(method="staged", seeds=5, seeds_per_job=2, norm="l2", clip=True, iterations=50, options={"step": 1})
    assert attack.seed_blocks() == [(0, 0)]
    recipe = attack.recipe()
    expected = Staged(budget=5, iterations=50, norm="l2", clip=True, step=1).model_dump()
    assert recipe == {"method": "staged", "options": expected, "split": "train", "clip": True, "norm": "l2"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"options": {"budget": 9}}, "options.budget: got 9; say it as attack.seeds"),
        ({"options": {"norm": "l2"}}, "options.norm: got 'l2'; say it as attack.norm"),
        ({"options": {"start": 9}}, "options.start: unknown key; did you mean 'starts'?"),
        ({"options": {"starts": 0}}, "options.starts: got 0"),
        ({"options": {"starts": 2000}}, "options.starts: got 2000, more than 50 x 100 steps in 4 rounds suffice for"),
        ({"momentum": 0.9}, "momentum: got 0.9, an option of sgd; give staged its own, as options"),
    ],
)
def test_options_are_checked_before_anything_runs(options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Attack(method="staged", **options)


def test_a_variant_by_another_method_takes_over_what_both_have():
    base = {"loss": "probability", "iterations": 10, "seeds": 5, "clip": True}
    staged = variant_of(base, {"method": "staged"})
    assert staged == {"iterations": 10, "seeds": 5, "clip": True, "method": "staged"}
    assert variant_of({**staged, "options": {"starts": 9}}, {"method": "sgd"}) == {**staged, "method": "sgd"}
    assert variant_of(base, {"method": "mine.py:mine"}) == {"seeds": 5, "clip": True, "method": "mine.py:mine"}
    assert variant_of(base, {"momentum": 0.5}) == {**base, "momentum": 0.5}


class Images:
    """A dataset in the place of a stored one; its test images must not be needed to craft."""

    def __init__(self, test):
        self.test = test

    def last(self, *names):
        return [tuple(t.numpy() for t in (self.test if name == "test" else (X, Y))) for name in names]


def test_the_choice_never_depends_on_test_images(tmp_path):
    cell = Cell(dataset="mnist", ensemble="voting", members=1, **{"lambda": 0.0})
    attack = Attack(method="staged", seeds=4, iterations=20, batch_size=10)
    torch.manual_seed(5)
    tests = [(X, Y), (torch.rand(30, 1, 3, 3), torch.randint(4, (30,)))]
    found = []
    for i, test in enumerate(tests):
        craft_stage(
            linear(), Images(test), tmp_path / str(i), cell=cell, eps=0.2, first=0, last=0, attack=attack.recipe(),
            seed=0,
        )  # fmt: skip
        found.append(load_uaps([tmp_path / str(i)]))
    assert (found[0][0] == found[1][0]).all()  # the perturbation
    assert len(found[0][0]) == 1  # and nothing to choose from afterwards
    assert (found[0][2]["steps"], found[0][2]["gradient_images"]) == (80, 800)
