"""Networks that could be trained but not stored are refused before the first step; others come back as they were."""

import pytest
import torch
from torch import nn

import jacobian_ensembles as je
from jacobian_ensembles.training.learner import DivergedError
from jacobian_ensembles.training.recipe import Recipe

Y = torch.arange(240) % 3
X = torch.rand(240, 1, 4, 4, generator=torch.Generator().manual_seed(0)) / 2
X[torch.arange(240), 0, 0, Y] += 0.5


class ExtraState(nn.Sequential):
    def get_extra_state(self):
        return {"version": 3}

    def set_extra_state(self, state):
        pass


class Sparse(nn.Sequential):
    def __init__(self, *layers):
        super().__init__(*layers)
        self.register_buffer("mask", torch.eye(3).to_sparse())


class Grown(nn.Sequential):
    """Its state depends on how often one was built."""

    count = 0

    def __init__(self, *layers):
        super().__init__(*layers)
        Grown.count += 1
        self.register_buffer(f"buffer{Grown.count}", torch.zeros(1))


def train(kind, images=X, labels=Y, **settings):
    def build(shape, classes):
        return kind(nn.Flatten(), nn.Linear(16, 3))

    recipe = Recipe(epochs=30, learning_rate=0.01)
    return je.train_ensemble(images, labels, members=1, architecture=build, recipe=recipe, **settings)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (ExtraState, r"arrays alone.*_extra_state of type dict"),
        (Sparse, r"arrays alone.*mask of type Tensor"),
        (Grown, r"must fit a network that its builder builds anew.*buffer1"),
    ],
)
def test_what_cannot_be_stored_is_refused_before_the_first_step(monkeypatch, kind, message):
    monkeypatch.setattr("jacobian_ensembles.training.members.descend", None)  # a step would fail otherwise
    with pytest.raises(ValueError, match=message):
        train(kind)


class Tied(nn.Module):  # two layers with the same weights
    def __init__(self, *layers):
        super().__init__()
        self.first, self.second = nn.Linear(16, 16), nn.Linear(16, 16)
        self.second.weight = self.first.weight
        self.last = nn.Linear(16, 3)

    def forward(self, x):
        return self.last(self.second(self.first(x.flatten(1)).relu()))


def lazy(*layers):
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(3))


@pytest.mark.parametrize("kind", [Tied, lazy])
def test_shared_and_lazy_parameters_can_be_trained_and_stored(kind):
    assert je.evaluate(train(kind), X, Y).clean_accuracy > 0.5


def test_few_validation_images_are_not_called_a_collapse():
    with pytest.raises(DivergedError, match=r"With 6 validation images that may be bad luck: give more"):
        train(nn.Sequential, torch.rand(60, 1, 4, 4), Y[:60], lambda_jr=1e4)
