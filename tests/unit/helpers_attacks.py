"""Untrained LeNets in double precision, and the textbook's ensembles of them, for tests of attacks."""

import torch
from helpers_science import give_biases, plain_of
from torch import nn

from jacobian_ensembles.models.lenet import LeNet


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def double_lenets(count, activation="tanh", scaling=(0.0, 1.0), boost=1.0):
    nets = [give_biases(LeNet(activation, 0.0, *scaling, generator=seeded(m)), seed=m).double() for m in range(count)]
    for net in nets:  # untrained nets are unsure of everything; a boost spreads their losses
        with torch.no_grad():
            net.fc3.weight.mul_(boost)
    return nets


def plain_ensemble(nets, average):
    """Log-probabilities of textbook networks, averaged by the definitions."""

    def log_probabilities(x):
        logits = torch.stack([plain_of(net)(x) for net in nets])
        if average == "logits":
            return torch.log_softmax(logits.sum(0) / len(nets), 1)
        return torch.log(torch.softmax(logits, 2).sum(0) / len(nets))

    return log_probabilities


class Wrapped(nn.Module):
    """Any function as a module that is no Ensemble: the path of automatic differentiation."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def plain_gradients(log_probabilities, x, labels, cap, groups):
    """One gradient per group of its mean capped loss with respect to a shared perturbation, group by group."""
    found = []
    for part, y in zip(x.chunk(groups), labels.chunk(groups), strict=True):
        delta = torch.zeros_like(part[0]).requires_grad_(True)
        losses = -log_probabilities(part + delta)[range(len(y)), y]
        if cap is not None:
            losses = torch.where(losses > cap, torch.full_like(losses, cap), losses)
        found.append(torch.autograd.grad(losses.mean(), delta)[0])
    return torch.stack(found)
