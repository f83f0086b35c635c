"""Who is tried on whom: accuracies of every model under every perturbation, by hand and by the workflow's stages."""

import pytest
import torch
from torch import nn

from jacobian_ensembles.robustness.evidence import transfer_matrix


class Bright(nn.Module):
    """Class 1 where one pixel is above a half."""

    def __init__(self, pixel):
        super().__init__()
        self.pixel = pixel

    def forward(self, x):
        z = 10 * (x[:, 0, 0, self.pixel] - 0.5)
        return torch.stack([-z, z], 1)


def test_each_model_is_tried_under_each_perturbation():
    x = torch.tensor([[0.9, 0.9], [0.8, 0.1], [0.2, 0.2], [0.1, 0.6]]).view(4, 1, 1, 2)
    y = torch.tensor([1, 1, 0, 0])
    # on the first pixel -0.35 takes 0.8 below a half, and not 0.9; on the second +0.35 takes 0.2 above it
    deltas = {"first": torch.tensor([[[-0.35, 0.0]]]), "second": torch.tensor([[[0.0, 0.35]]])}
    matrix = transfer_matrix({"first": Bright(0), "second": Bright(1)}, deltas, x, y)
    assert matrix.loc["first"].tolist() == [0.75, 0.5]  # the second model is wrong of two images as they are
    assert matrix.loc["second"].tolist() == [1.0, 0.25]
    with pytest.raises(ValueError, match="labels"):
        transfer_matrix({"first": Bright(0)}, deltas, x, y + 5)
