import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from helpers_science import give_biases, jacobians, patch_dataset, plain_lenet

from jacobian_ensembles.ensembles.methods import bootstrap_indices
from jacobian_ensembles.models.architecture import Architecture
from jacobian_ensembles.models.lenet import LeNet
from jacobian_ensembles.seeding import derive_seed
from jacobian_ensembles.training.learner import DivergedError, Task, accuracy
from jacobian_ensembles.training.members import train_learner, train_snapshots
from jacobian_ensembles.training.objectives.jacobian import Jacobian
from jacobian_ensembles.training.optimization import cyclic_cosine
from jacobian_ensembles.training.recipe import Recipe

TRAIN, VALIDATION = patch_dataset(200, seed=0), patch_dataset(100, seed=1)
IDENTITY = (0, "mnist", "bagging", 0.1, 0)
TANH = Architecture(options={"activation": "tanh"})


def train(settings, lam=0.0, identity=IDENTITY, architecture=TANH, data=TRAIN, validation=VALIDATION, **more):
    snapshots = more.pop("snapshots", None)
    task = Task(data, validation, architecture, settings, lam, Jacobian, **more)
    return train_snapshots(task, identity, snapshots) if snapshots else train_learner(task, identity)


def weights(net):
    return torch.cat([p.detach().flatten() for p in net.parameters()])


def test_one_cosine_cycle_by_hand():
    root = math.sqrt(0.5)
    expected = [2.0, 1 + root, 1.0, 1 - root]
    assert [cyclic_cosine(i, 4, 1, 2.0) for i in range(4)] == pytest.approx(expected)


@pytest.mark.parametrize(("total", "cycles"), [(12, 1), (12, 3), (18, 9), (5, 5)])
def test_schedule_restarts_every_cycle_and_follows_the_papers_formula(total, cycles):
    # Huang et al. (2017), Eq. (2), which counts t from 1 and rounds T/M up; here M divides T
    rates = [cyclic_cosine(i, total, cycles, 0.1) for i in range(total)]
    length = math.ceil(total / cycles)
    paper = [0.05 * (math.cos(math.pi * ((t - 1) % length) / length) + 1) for t in range(1, total + 1)]
    assert rates == pytest.approx(paper)
    assert rates[::length] == [0.1] * cycles
    assert all(a > b > 0 for a, b in pairwise(rates) if b != 0.1)


def test_bootstrap_draws_n_with_replacement():
    n = 20_000
    drawn = bootstrap_indices(n, torch.Generator().manual_seed(0))
    assert (drawn.shape, drawn.dtype) == ((n,), torch.int64)
    assert drawn.min() >= 0
    assert drawn.max() < n
    counts = torch.bincount(drawn, minlength=n)
    # a share 1 - 1/e is drawn at all; its deviation is sqrt(e^-1 (1 - 2/e) / n) = 0.0022
    assert abs((counts > 0).double().mean().item() - (1 - math.exp(-1))) < 4.5 * 0.0022
    # Poisson(1): once e^-1, twice e^-1 / 2
    assert (counts == 1).double().mean().item() == pytest.approx(math.exp(-1), abs=0.015)
    assert (counts == 2).double().mean().item() == pytest.approx(math.exp(-1) / 2, abs=0.015)


def test_bootstrap_depends_on_its_generator_only():
    first, second, other = (bootstrap_indices(50, torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("batch", [1, 3, 7, 100])
def test_accuracy_counts_every_image_once_whatever_the_batch(batch):
    scores = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [0, 3, 1], [2, 0, 1], [0, 1, 2], [0, 0, 1]])
    labels = torch.tensor([0, 1, 2, 2, 0, 1, 2])  # all but the fourth and the sixth
    assert accuracy(torch.nn.Identity(), scores, labels, batch) == pytest.approx(5 / 7)


def test_an_easy_problem_is_learned_and_reported_rightly():
    result = train(Recipe(epochs=12, batch_size=20, learning_rate=3e-3))
    (net,), (score,) = result.nets, result.validation_accuracy
    assert score >= 0.95
    logits = plain_lenet(dict(net.named_parameters()), VALIDATION[0])
    assert score == (logits.argmax(1) == VALIDATION[1]).sum().item() / 100
    assert [record["epoch"] for record in result.history] == list(range(1, 13))
    losses = [record["loss"] for record in result.history]
    assert losses[-1] < 0.3 < losses[0] < 3  # ln 10 at the start
    assert not any(p.requires_grad for p in net.parameters())


def test_regularisation_lowers_the_exact_jacobian_norm_of_held_out_images():
    settings = Recipe(epochs=10, batch_size=20, learning_rate=3e-3)
    norms = {}
    for lam in (0.0, 0.1):
        result = train(settings, lam)
        assert result.validation_accuracy[0] >= 0.8
        parameters = dict(result.nets[0].named_parameters())
        exact = jacobians(lambda x, p=parameters: plain_lenet(p, x), VALIDATION[0][:30])
        norms[lam] = exact.pow(2).sum((1, 2)).mean().item()
    assert norms[0.1] < 0.5 * norms[0.0]


def seeded(role, identity=IDENTITY):
    return torch.Generator().manual_seed(derive_seed(role, *identity))


def plain_training(settings, lam, epochs, cycles, data):
    """The same training written out with torch's own layers, optimiser and double backward."""
    images, labels = data
    start = LeNet("tanh", generator=seeded("init"))
    parameters = {name: p.detach().clone().requires_grad_(True) for name, p in start.named_parameters()}
    optimizer = torch.optim.SGD(
        parameters.values(), lr=0.1, momentum=settings.momentum, weight_decay=settings.weight_decay
    )
    order, projections = seeded("order"), seeded("projections")
    batch = min(settings.batch_size, len(labels))
    steps = len(labels) // batch
    ends, losses = [], []
    for epoch in range(epochs):
        permutation = torch.randperm(len(labels), generator=order)
        losses.append(0.0)
        for i in range(steps):
            along = (epoch * steps + i) % (epochs * steps // cycles) / (epochs * steps // cycles)
            cosine = (1 + math.cos(math.pi * along)) / 2 if settings.schedule == "cosine" else 1
            optimizer.param_groups[0]["lr"] = settings.learning_rate * cosine
            index = permutation[i * batch : (i + 1) * batch]
            x = images[index].requires_grad_(True)
            logits = plain_lenet(parameters, x)
            loss = F.cross_entropy(logits, labels[index])
            for _ in range(settings.projections if lam else 0):
                v = F.normalize(torch.randn(batch, 10, generator=projections))
                (g,) = torch.autograd.grad(logits, x, v, create_graph=True)
                loss = loss + lam * 10 * g.pow(2).sum() / (2 * batch * settings.projections)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses[-1] += loss.item() / steps
        ends.append(torch.cat([p.detach().flatten() for p in parameters.values()]))
    return ends, losses


def noisy(count, seed):
    # no flat regions: where pooling windows tie, a Jacobian depends on who wins
    images, labels = patch_dataset(count, seed)
    return (images + 0.1 * torch.rand(images.shape, generator=torch.Generator().manual_seed(seed))).clamp(0, 1), labels


@pytest.fixture
def accept_any_accuracy(monkeypatch):
    # a few steps do not make a usable net, nor need they here
    monkeypatch.setattr("jacobian_ensembles.training.learner._check_usable", lambda *_: 0.5)


@pytest.mark.parametrize(
    ("count", "batch", "lam", "projections", "schedule"),
    [(70, 20, 0.0, 1, "cosine"), (70, 20, 0.2, 2, "cosine"), (30, 100, 0.2, 1, "cosine"), (70, 20, 0.2, 1, "constant")],
    ids=["partial-batch-dropped", "regularised", "batch-larger-than-set", "constant-rate"],
)
def test_training_follows_the_written_out_loop(accept_any_accuracy, count, batch, lam, projections, schedule):
    settings = Recipe(
        optimizer="sgd", learning_rate=0.05, weight_decay=1e-3, batch_size=batch, epochs=3, projections=projections,
        schedule=schedule,
    )  # fmt: skip
    data = noisy(count, 3)
    result = train(settings, lam, data=data)
    ends, losses = plain_training(settings, lam, 3, 1, data)
    moved = (weights(LeNet("tanh", generator=seeded("init"))) - ends[-1]).abs().max()
    assert moved > 5e-3
    torch.testing.assert_close(weights(result.nets[0]), ends[-1], rtol=0, atol=2e-3 * moved.item())
    assert [record["loss"] for record in result.history] == pytest.approx(losses, rel=1e-4)


@pytest.mark.parametrize("members", [1, 2, 3])
def test_snapshots_are_the_nets_at_the_ends_of_the_cycles(accept_any_accuracy, members):
    settings = Recipe(optimizer="sgd", learning_rate=0.05, weight_decay=1e-3, batch_size=20, epochs=6)
    data = noisy(70, 3)
    result = train(settings, 0.1, data=data, snapshots=members)
    ends, _ = plain_training(settings, 0.1, 6, members, data)
    assert len(result.nets) == len(result.validation_accuracy) == members
    assert len(result.history) == 6
    cycle = 6 // members
    for m, net in enumerate(result.nets):
        torch.testing.assert_close(weights(net), ends[(m + 1) * cycle - 1], rtol=0, atol=1e-3)
    for before, after in pairwise(ends):  # the nets of different epochs differ by far more than the tolerance
        assert (before - after).abs().max() > 3e-3


def test_one_snapshot_is_one_learner_of_as_many_epochs():
    settings = Recipe(epochs=6, batch_size=20, learning_rate=3e-3)
    assert torch.equal(weights(train(settings).nets[0]), weights(train(settings, snapshots=1).nets[0]))


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_the_same_identity_gives_the_same_bits_whatever_happened_before(accept_any_accuracy, optimizer):
    # every stream of draws is in use: initialisation, order, bootstrap, dropout, projections
    settings = Recipe(optimizer=optimizer, epochs=2, batch_size=40, projections=2)
    runs = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        torch.rand(seed + 1)
        runs.append(
            train(settings, 0.1, architecture=Architecture(options={"dropout": 0.3}), sample=bootstrap_indices).nets[0]
        )
    assert torch.equal(weights(runs[0]), weights(runs[1]))


@pytest.mark.parametrize("place", range(5))
def test_any_other_identity_gives_another_net(accept_any_accuracy, place):
    settings = Recipe(epochs=1, batch_size=100)
    other = list(IDENTITY)
    other[place] = (1, "fashion_mnist", "voting", 0.2, 1)[place]
    one, two = train(settings).nets[0], train(settings, identity=tuple(other)).nets[0]
    # not only the order of the images: the starting points are unrelated
    assert (weights(one) - weights(two)).abs().mean() > 0.01


def test_each_stream_of_draws_is_separate(accept_any_accuracy):
    # a learner with and without regularisation starts alike and sees its images in the same order
    settings = Recipe(optimizer="sgd", epochs=2, batch_size=40, learning_rate=0.05)
    plain = weights(train(settings, 0.0).nets[0])
    nearly = weights(train(settings, 1e-9).nets[0])
    torch.testing.assert_close(plain, nearly, rtol=0, atol=1e-5)


def test_bootstrap_trains_on_the_resample_its_identity_draws(accept_any_accuracy):
    settings = Recipe(epochs=1, batch_size=40)
    resample = torch.randint(200, (200,), generator=seeded("bootstrap"))
    by_hand = train(settings, data=(TRAIN[0][resample], TRAIN[1][resample])).nets[0]
    assert torch.equal(weights(train(settings, sample=bootstrap_indices).nets[0]), weights(by_hand))
    assert not torch.equal(weights(train(settings).nets[0]), weights(by_hand))


def test_validation_images_never_touch_the_weights():
    settings = Recipe(epochs=6, batch_size=20, learning_rate=3e-3)
    other = patch_dataset(50, seed=9)
    assert torch.equal(weights(train(settings).nets[0]), weights(train(settings, validation=other).nets[0]))


def test_dropout_and_the_architecture_reach_the_training_and_the_result(accept_any_accuracy):
    settings = Recipe(epochs=1, batch_size=100)
    options = {"activation": "relu", "dropout": 0.4}
    architecture = Architecture(options=options, mean=0.1, std=0.3)
    dropped = train(settings, architecture=architecture).nets[0]
    whole = train(settings, architecture=replace(architecture, options={**options, "dropout": 0.0})).nets[0]
    assert (dropped.activation, dropped.dropout, dropped.mean, dropped.std) == ("relu", 0.4, 0.1, 0.3)
    assert not torch.equal(weights(dropped), weights(whole))


@pytest.mark.parametrize("lam", [0.0, 0.1])
def test_a_diverged_run_is_refused_with_what_to_try(lam):
    settings = Recipe(optimizer="sgd", learning_rate=1e9, epochs=4, batch_size=50)
    message = r"epoch 1 of 4: the learner diverged, the loss became (nan|inf)\. Lower training\.learning_rate or lambda"
    with pytest.raises(DivergedError, match=message):
        train(settings, lam, architecture=Architecture(options={"activation": "relu"}))


def test_parameters_that_became_infinite_in_the_last_step_are_refused():
    # the loss is taken before the step, so with one step it is still finite
    with pytest.raises(DivergedError, match="diverged"):
        train(Recipe(optimizer="sgd", learning_rate=3e38, momentum=0.0, weight_decay=1e3, epochs=1, batch_size=200))


def test_a_net_no_better_than_guessing_is_refused():
    # identical images: any net gives them one class, right for a tenth of them
    blank = torch.full((100, 1, 28, 28), 0.5), torch.arange(100) % 10
    with pytest.raises(DivergedError, match=r"epoch 2 of 2: validation accuracy is 10\.0%, no better than guessing"):
        train(Recipe(epochs=2, batch_size=50), data=blank, validation=blank)


def test_guessing_is_measured_against_the_commonest_class_with_three_standard_errors():
    # 60 of 100 images are of class 0; three standard errors of that share are 0.147, so 74 right are not enough
    from jacobian_ensembles.training.learner import _check_usable

    labels = torch.tensor([0] * 60 + [1] * 40)
    net = give_biases(LeNet(generator=torch.Generator().manual_seed(0)))
    for right, usable in ((74, False), (75, True)):
        guess = torch.where(torch.arange(100) < right, labels, 1 - labels)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(LeNet, "forward", lambda _, x: F.one_hot(x[:, 0, 0, 0].long(), 10))
            images = guess.view(100, 1, 1, 1).float()
            if usable:
                assert _check_usable(net, (images, labels), 0.1, "here") == 0.75
            else:
                with pytest.raises(DivergedError, match=r"here: validation accuracy is 74\.0%.*74\.7%"):
                    _check_usable(net, (images, labels), 0.1, "here")


@pytest.mark.parametrize(("epochs", "members"), [(7, 2), (2, 3)])
def test_epochs_that_do_not_divide_into_cycles_are_refused(epochs, members):
    message = f"{epochs} epochs do not divide into {members} equal cycles"
    with pytest.raises(ValueError, match=message):
        train(Recipe(epochs=epochs), snapshots=members)


def test_snapshots_need_the_cosine_that_they_restart():
    with pytest.raises(ValueError, match=r"Snapshots need schedule 'cosine', which they restart\. Got 'constant'"):
        train(Recipe(epochs=2, schedule="constant"), snapshots=2)
