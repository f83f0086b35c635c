"""The straightforward PyTorch that the package is measured against: textbook layers, autograd, one seed at a time."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jacobian_ensembles.models.lenet import LeNet


class PlainLeNet(nn.Module):
    """The same network as a LeNet, in textbook order: convolution, activation, ``max_pool2d``."""

    def __init__(self, net: LeNet) -> None:
        super().__init__()
        self.net = net
        self.act = torch.tanh if net.activation == "tanh" else torch.relu

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, C) of (B, 1, 28, 28)."""
        n, act = self.net, self.act
        x = (x - n.mean) / n.std if (n.mean, n.std) != (0.0, 1.0) else x
        x = F.max_pool2d(act(n.conv1(x)), 2)
        x = F.max_pool2d(act(n.conv2(x)), 2).flatten(1)
        return n.fc3(act(n.fc2(act(n.fc1(x)))))


def log_probabilities(members: Sequence[nn.Module], x: Tensor) -> Tensor:
    """The log-softmax of the mean logit: (B, C)."""
    return torch.stack([m(x) for m in members]).mean(0).log_softmax(1)


def uap_gradient(
    members: Sequence[nn.Module], x: Tensor, labels: Tensor, delta: Tensor, cap: float, clip: bool
) -> Tensor:
    """The gradient of the capped mean loss at x + delta, by autograd to delta: of delta's shape."""
    delta = delta.detach().requires_grad_(True)
    moved = x + delta
    if clip:
        moved = moved + (moved.clamp(0, 1) - moved).detach()  # straight through, as the package does it
    losses = F.nll_loss(log_probabilities(members, moved), labels, reduction="none")
    return torch.autograd.grad(losses.clamp(max=cap).mean(), delta)[0]


def craft_uap(
    members: Sequence[nn.Module],
    images: Tensor,
    labels: Tensor,
    eps: float,
    steps: int,
    cap: float,
    clip: bool,
    batch: int = 200,
) -> Tensor:
    """One perturbation by ``steps`` steps of ``batch`` images: of an image's shape."""
    delta = images.new_zeros(images.shape[1:])
    for _ in range(steps):
        index = torch.randint(len(labels), (batch,), device=labels.device)
        gradient = uap_gradient(members, images[index], labels[index], delta, cap, clip)
        delta = (delta + 0.8 * eps * gradient.sign()).clamp(-eps, eps)
    return delta


@torch.no_grad()
def accuracy_under(members: list[PlainLeNet], images: Tensor, labels: Tensor, delta: Tensor) -> float:
    """Accuracy under one perturbation."""
    right = [
        (log_probabilities(members, x + delta).argmax(1) == y).sum()
        for x, y in zip(images.split(500), labels.split(500), strict=True)
    ]
    return torch.stack(right).sum().item() / len(labels)


def training_step(
    model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, labels: Tensor, lambda_jr: float
) -> None:
    """One step on cross-entropy + lambda/2 mean ||J||_F^2, differentiating the backward pass."""
    x = x.detach().requires_grad_(bool(lambda_jr))
    logits = model(x)
    loss = F.cross_entropy(logits, labels)
    if lambda_jr:
        v = F.normalize(torch.randn_like(logits), dim=1)
        (g,) = torch.autograd.grad((logits * v).sum(), x, create_graph=True)
        loss = loss + lambda_jr / 2 * logits.shape[1] * g.pow(2).sum() / len(x)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
