import pytest
import torch
from torch import nn

from jacobian_ensembles.evaluation import accuracy
from jacobian_ensembles.evaluation.accuracy import correct, perturb, predictions


class Scores(nn.Module):
    """A fixed nonlinear classifier of 2x3 images, which notes the inputs it is given."""

    def __init__(self, seed=0):
        super().__init__()
        self.weight = torch.randn(4, 6, generator=torch.Generator().manual_seed(seed))
        self.seen = []

    def forward(self, x):
        self.seen.append(x.clone())
        return torch.tanh(x.flatten(1) - 0.5) @ self.weight.T


def images_and_labels(count=23):
    rng = torch.Generator().manual_seed(1)
    images = torch.rand(count, 1, 2, 3, generator=rng)
    return images, torch.randint(4, (count,), generator=rng)


def deltas_of(count, size=0.4):
    return size * (torch.rand(count, 1, 2, 3, generator=torch.Generator().manual_seed(2)) * 2 - 1)


@pytest.mark.parametrize(
    ("clip", "expected"), [(False, [-0.25, 0.25, 1.25]), (True, [0.0, 0.25, 1.0])], ids=["raw", "clipped"]
)
def test_perturbation_by_hand(clip, expected):
    x, delta = torch.tensor([[0.25, 0.5, 0.75]]), torch.tensor([-0.5, -0.25, 0.5])
    assert perturb(x, delta, clip).tolist() == [expected]


@pytest.mark.parametrize("clip", [True, False])
@pytest.mark.parametrize("batch", [1, 4, 23, 500])
def test_bits_equal_those_found_one_image_at_a_time(batch, clip):
    model, (images, labels), deltas = Scores(), images_and_labels(), deltas_of(5)
    got = correct(model, images, labels, deltas, clip, batch)
    assert (got.shape, got.dtype) == ((5, 23), torch.bool)
    for k in range(5):
        for i in range(23):
            pixels = [p + d for p, d in zip(images[i].flatten().tolist(), deltas[k].flatten().tolist(), strict=True)]
            if clip:
                pixels = [min(max(p, 0.0), 1.0) for p in pixels]
            scores = model(torch.tensor(pixels).view(1, 1, 2, 3))[0].tolist()
            assert got[k, i].item() == (scores.index(max(scores)) == labels[i].item())
    assert 0 < got.double().mean() < 1
    assert not torch.equal(got[0], got[1])


@pytest.mark.parametrize("clip", [True, False])
def test_a_zero_perturbation_gives_the_clean_accuracy(clip):
    model, (images, labels) = Scores(), images_and_labels()
    clean = model(images).argmax(1) == labels
    got = correct(model, images, labels, torch.zeros(2, 1, 2, 3), clip)
    assert torch.equal(got[0], clean)
    assert torch.equal(got[1], clean)


def test_clipping_undoes_what_lies_outside_the_unit_interval():
    # class 1 when the pixel exceeds 0.95: 0.9 + 0.2 does either way; 1.0 - 0.3 + 0 never; 1.5 is 1 when clipped
    class Bright(nn.Module):
        def forward(self, x):
            return torch.stack([torch.full((len(x),), 1.2), x.flatten()], 1)

    images, labels = torch.tensor([0.9, 1.0, 0.4]).view(3, 1, 1, 1), torch.tensor([1, 1, 1])
    deltas = torch.tensor([0.5, 0.25]).view(2, 1, 1, 1)
    assert correct(Bright(), images, labels, deltas, clip=False).tolist() == [[True, True, False], [False, True, False]]
    assert not correct(Bright(), images, labels, deltas, clip=True).any()


@pytest.mark.parametrize("clip", [True, False])
def test_the_model_sees_values_outside_the_unit_interval_only_without_clipping(clip):
    model, (images, labels) = Scores(), images_and_labels()
    correct(model, images, labels, deltas_of(3, size=0.8), clip)
    seen = torch.cat(model.seen)
    inside = bool(((seen >= 0) & (seen <= 1)).all())
    assert inside == clip


def test_evaluation_builds_no_graph_and_leaves_the_images_alone():
    model = nn.Sequential(nn.Flatten(), nn.Linear(6, 4))
    images, labels = images_and_labels()
    before = images.clone()
    outputs = []
    model.register_forward_hook(lambda *args: outputs.append(args[2]))
    correct(model, images, labels, deltas_of(2), clip=True)
    predictions(model, images)
    assert not any(out.requires_grad for out in outputs)
    assert torch.equal(images, before)


@pytest.mark.parametrize("batch", [1, 4, 500])
def test_predictions_are_the_index_of_the_largest_score(batch):
    model, (images, _) = Scores(), images_and_labels()
    got = predictions(model, images, batch)
    rows = model(images).tolist()
    assert got.dtype == torch.int64
    assert got.tolist() == [row.index(max(row)) for row in rows]
    assert len(set(got.tolist())) > 1


def test_a_long_evaluation_logs_how_far_it_is(monkeypatch, caplog):
    monkeypatch.setattr(accuracy, "_EVERY", -1.0)
    caplog.set_level("INFO", "jacobian_ensembles")
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
    x, y = torch.rand(7, 1, 2, 2), torch.arange(7) % 3
    accuracy.correct(model, x, y, torch.zeros(2, 1, 2, 2), False, batch=3)
    assert [record.progress for record in caplog.records] == [(3, 7), (6, 7), (7, 7)]
    monkeypatch.setattr(accuracy, "_EVERY", 10.0)
    caplog.clear()
    accuracy.correct(model, x, y, torch.zeros(2, 1, 2, 2), False, batch=3)
    assert not caplog.records
