import torch
import torch.nn.functional as F
from helpers_science import give_biases, plain_of, textured

from jacobian_ensembles.models.lenet import LeNet
from jacobian_ensembles.training.objectives.noise import Noise
from jacobian_ensembles.training.objectives.objective import Batch


def test_the_learner_is_trained_on_images_with_the_noise_that_its_generator_draws():
    net = give_biases(LeNet(generator=torch.Generator().manual_seed(0)))
    x, labels = textured(4, dtype=torch.float32), torch.tensor([3, 1, 4, 1])
    rng = torch.Generator().manual_seed(7)
    found = [Noise(0.3).gradients(net, Batch(x, labels, 10, 1, rng)) for _ in range(2)]
    again, exact = torch.Generator().manual_seed(7), LeNet().double()
    exact.load_state_dict(net.state_dict())
    for value, gradients in found:  # drawn anew in the second step
        noisy = x + 0.3 * torch.randn(x.shape, generator=again)
        loss = F.cross_entropy(plain_of(exact)(noisy.double()), labels)
        torch.testing.assert_close(value.double(), loss.detach(), rtol=1e-5, atol=0)
        for ours, theirs in zip(gradients, torch.autograd.grad(loss, list(exact.parameters())), strict=True):
            torch.testing.assert_close(ours.double(), theirs, rtol=1e-3, atol=1e-4 * theirs.abs().max().item())
    assert found[0][0] != found[1][0]
