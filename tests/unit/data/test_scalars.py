from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import torch

from jacobian_ensembles.data.scalars import check_eps, check_seeds


@pytest.mark.parametrize(
    "eps",
    [0.25, np.float32(0.25), np.float64(0.25), np.array(0.25), torch.tensor(0.25), Fraction(1, 4), Decimal("0.25")],
)
def test_one_number_of_any_type_is_an_eps(eps):
    assert check_eps(eps) == 0.25
    assert type(check_eps(eps)) is float


@pytest.mark.parametrize(
    "eps",
    ["0.1", b"0.1", [0.1], (0.1,), np.array([0.1]), torch.tensor([0.1]), None, True, np.True_, 0.1j, {}],
)
def test_anything_else_is_no_eps(eps):
    with pytest.raises(ValueError, match="eps must be one number in"):
        check_eps(eps)


@pytest.mark.parametrize("eps", [0, -0.1, 1.5, float("nan"), float("inf")])
def test_an_eps_lies_above_0_and_up_to_1(eps):
    with pytest.raises(ValueError, match=r"eps must lie in \(0, 1\], in pixel units\. Got"):
        check_eps(eps)
    assert check_eps(1) == 1


def test_an_eps_of_255_is_recognised():
    with pytest.raises(ValueError, match=r"Got 8\. If it is of 255, give 8 / 255\."):
        check_eps(8)


@pytest.mark.parametrize(
    "seeds",
    [3, np.int64(3), range(3), [0, 1, 2], (0, 1, 2), np.arange(3), torch.arange(3), iter([0, 1, 2])],
)
def test_whole_numbers_of_any_type_are_seeds(seeds):
    assert check_seeds(seeds) == [0, 1, 2]
    assert all(type(seed) is int for seed in check_seeds([np.int32(4), 2**62]))


@pytest.mark.parametrize(
    "seeds", ["3", b"12", 1.0, [0.5], [True], True, None, [None], -1, [-1], [2**63], {"a": 1}, [[1]]]
)
def test_anything_else_is_no_seed(seeds):
    with pytest.raises(ValueError, match="seeds must be whole numbers from 0 on, or how many"):
        check_seeds(seeds)


@pytest.mark.parametrize("seeds", [0, [], range(0), np.array([], int)])
def test_no_seeds_are_refused(seeds):
    with pytest.raises(ValueError, match="at least one attack seed"):
        check_seeds(seeds)


def test_a_seed_given_twice_is_refused():
    with pytest.raises(ValueError, match="must differ"):
        check_seeds([1, 2, 1])
