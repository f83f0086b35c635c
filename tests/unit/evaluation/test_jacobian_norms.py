import pytest
import torch
from helpers_science import give_biases
from scipy import stats
from torch import nn

from jacobian_ensembles.evaluation.jacobian_norms import jacobian_statistics
from jacobian_ensembles.models.jacobian import exact_jacobian
from jacobian_ensembles.models.lenet import LeNet


def nets(count):
    return [give_biases(LeNet(generator=torch.Generator().manual_seed(m))) for m in range(count)]


def images(count):
    return torch.rand(count, 1, 28, 28, generator=torch.Generator().manual_seed(9))


def test_any_classifier_can_be_measured():
    net = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    torch.testing.assert_close(exact_jacobian(net, images(2)), net[1].weight.detach().expand(2, 10, 784))


def test_statistics_are_those_of_the_full_jacobians():
    members, x = nets(3), images(5)
    got = jacobian_statistics(members, x, batch=2)
    full = torch.stack([exact_jacobian(net, x) for net in members]).double()
    torch.testing.assert_close(got["learners"], full.square().sum((2, 3)), rtol=1e-4, atol=0)
    torch.testing.assert_close(got["ensemble"], full.mean(0).square().sum((1, 2)), rtol=1e-4, atol=0)
    for i, j in ((0, 1), (1, 2), (2, 2)):
        cosine = nn.functional.cosine_similarity(full[i].flatten(1), full[j].flatten(1)).mean()
        torch.testing.assert_close(got["cosine"][i, j], cosine, rtol=1e-4, atol=1e-5)
    for m in range(3):
        entries = full[m].flatten().numpy()
        expected = [entries.mean(), entries.var(), stats.skew(entries), stats.kurtosis(entries)]
        torch.testing.assert_close(got["moments"][m], torch.tensor(expected, dtype=torch.float64), rtol=2e-3, atol=2e-5)
    assert got["size"].tolist() == [10, 784]


def test_the_ensembles_function_is_the_mean_of_its_learners_logits():
    members, x = nets(2), images(2)

    def ensemble(inputs):
        return torch.stack([net(inputs) for net in members]).mean(0)

    expected = exact_jacobian(ensemble, x).square().sum((1, 2)).double()
    torch.testing.assert_close(jacobian_statistics(members, x)["ensemble"], expected, rtol=1e-4, atol=0)


def test_with_labels_the_ensembles_shared_direction_is_measured():
    members, x, labels = nets(2), images(5), torch.tensor([3, 1, 4, 1, 5])
    assert "shared" not in jacobian_statistics(members, x)
    got = jacobian_statistics(members, x, labels, batch=2)["shared"]
    full = torch.stack([exact_jacobian(net, x) for net in members]).double().mean(0)
    centred = full - full.mean(1, keepdim=True)
    eigenvalues = torch.linalg.eigvalsh(torch.einsum("ncd,nce->de", centred, centred) / 5)
    assert got[0].item() == pytest.approx(eigenvalues[-1].item(), rel=1e-3)
    assert got[1].item() == pytest.approx((eigenvalues[-1] / eigenvalues.sum()).item(), rel=1e-3)
    x.requires_grad_(True)
    logits = torch.stack([net(x) for net in members]).mean(0)
    others = logits.scatter(1, labels[:, None], -torch.inf).amax(1)
    (gradients,) = torch.autograd.grad((logits.gather(1, labels[:, None])[:, 0] - others).sum(), x)
    assert got[2].item() == pytest.approx(gradients.mean(0).abs().sum().item(), rel=1e-4)
