"""Images and labels that users bring: taken in any honest form, refused in one clear line otherwise."""

import re

import numpy as np
import pytest
import torch

from jacobian_ensembles.data.tensors import check_images, check_pixels, check_training_labels

X = torch.linspace(0, 1, 5 * 12).view(5, 1, 3, 4)
Y = torch.tensor([0, 1, 2, 1, 0])


def with_value(value, dtype=torch.float32):
    x = X.to(dtype).clone()
    x[3, 0, 1, 2] = value
    return x


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_floats_of_any_precision_are_taken_and_halves_become_float32(dtype):
    images, _ = check_images(X.to(dtype), Y)
    assert images.dtype == (dtype if dtype in (torch.float32, torch.float64) else torch.float32)
    assert torch.equal(images.to(dtype), X.to(dtype))


@pytest.mark.parametrize(
    "dtype",
    [
        torch.uint8,
        torch.int8,
        torch.int16,
        torch.int32,
        torch.int64,
        torch.uint16,
        torch.uint32,
        torch.uint64,
        torch.bool,
    ],
)
def test_labels_of_any_integer_type_are_taken(dtype):
    y = Y.clamp(max=1) if dtype == torch.bool else Y
    labels = check_images(X, y.to(dtype))[1]
    assert labels.dtype == torch.int64
    assert torch.equal(labels, y)


@pytest.mark.parametrize(
    "images",
    [X.expand(5, 3, 3, 4), X.permute(0, 1, 3, 2), X[:1], X.flatten(1), X.contiguous(memory_format=torch.channels_last),
     X.clone().requires_grad_(True) * 1, torch.zeros(1, 1), torch.ones(2, 3), X[:, 0]],
    ids=["expanded", "transposed", "one", "flat", "channels-last", "in-a-graph", "black", "white", "grey"],
)  # fmt: skip
def test_images_of_any_layout_are_taken(images):
    got = check_pixels(images)
    assert torch.equal(got, images.detach())
    assert not got.requires_grad


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (with_value(float("nan")), "finite. Got NaN or infinity in 1 of 5 images, first in number 3"),
        (with_value(float("inf")), "finite. Got NaN or infinity in 1 of 5"),
        (with_value(-float("inf")), "finite"),
        (with_value(float("nan"), torch.float16), "finite"),
        (with_value(float("nan"), torch.float64), "finite"),
        (torch.full((2, 1, 2, 2), float("nan")), "2 of 2 images, first in number 0"),
        (with_value(1.0000001), r"Got torch.float32 in \[0, 1.00000012\]. That is rounding: use images.clamp\(0, 1\)"),
        (with_value(-1e-8), r"in \[-9.99999994e-09, 1\]. That is rounding"),
        (with_value(1.0005, torch.float16), "clamp"),
        (with_value(1.0001), "clamp"),
        (255 * X, r"in \[0, 255\]. Divide bytes by 255.$"),
        (with_value(2.0), "Divide bytes by 255"),
        (2 * X - 1, r"in \[-1, 1\]. Map \[-1, 1\] to \[0, 1\] by \(images \+ 1\) / 2"),
        ((X - 0.13) / 0.31, r"in \[-0.4193.*, 2.80.*\]. Divide bytes by 255. Let the model subtract means"),
        (with_value(1e30), "floats in"),
        ((255 * X).to(torch.uint8), r"Got torch.uint8 in \[0, 255\]. Divide bytes by 255"),
        ((255 * X).to(torch.int16), "Got torch.int16"),
        (X.bool(), "Got torch.bool. "),
        (X.to(torch.complex64), "Got torch.complex64. "),
        (X[:0], r"N >= 1, one image per row. Got shape \(0, 1, 3, 4\)"),
        (X[:, :0], "Got shape"),
        (torch.tensor(0.5), r"Got shape \(\)"),
        (X[0, 0, 0], r"Got shape \(4,\)"),
        (X.numpy(), "dense tensor. Got ndarray: use torch.as_tensor"),
        (X.tolist(), "Got list"),
        (None, "Got NoneType"),
        (X.to_sparse(), "Got a torch.sparse_coo tensor"),
    ],
)
def test_images_that_cannot_be_used_are_refused(images, message):
    with pytest.raises(ValueError, match=message):
        check_images(images, Y)
    assert isinstance(message, str)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (Y[:-1], r"5 integers. Got torch.int64 of shape \(4,\)"),
        (torch.cat([Y, Y]), r"of shape \(10,\)"),
        (Y.float(), r"Got torch.float32 of shape \(5,\). Use labels.long\(\)"),
        (torch.nn.functional.one_hot(Y), r"of shape \(5, 3\). Of one-hot rows, use labels.argmax\(1\)"),
        (torch.nn.functional.one_hot(Y).float(), "argmax"),
        (Y[:, None], r"of shape \(5, 1\). Use labels.squeeze\(1\)"),
        (Y - 1, "integers from 0 on. Got -1"),
        ((Y - 1).to(torch.int8), "Got -1"),
        (torch.tensor([0, 1, 2, 1, 2**63], dtype=torch.uint64), "from 0 on"),
        (Y.to(torch.complex64), "Got torch.complex64"),
        (Y[:0], "5 integers"),
        (torch.tensor(1), r"of shape \(\)"),
        (Y.tolist(), "labels must be a tensor. Got list: use torch.as_tensor"),
        (Y.numpy(), "Got ndarray"),
        (None, "Got NoneType"),
    ],
)
def test_labels_that_cannot_be_used_are_refused(labels, message):
    with pytest.raises(ValueError, match=message):
        check_images(X, labels)


def test_the_digits_of_a_message_show_why_it_was_refused():
    for value in (np.nextafter(np.float32(1), np.float32(2)), 1.00001, -1e-30, -1e-5):
        with pytest.raises(ValueError, match=r"Got torch.float32 in") as error:
            check_pixels(with_value(float(value)))
        low, high = map(float, re.search(r"in \[(\S+), (\S+)\]", str(error.value)[40:]).groups())
        assert low < 0 or high > 1


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([1, 2, 3], "from 0. Got 1 to 3: subtract 1"),
        ([5, 7], "subtract 5"),
        ([0, 0], "two classes or more. Got 0 for all 2"),
    ],
)
def test_training_labels_that_do_not_count_from_0_are_refused(labels, message):
    with pytest.raises(ValueError, match=message):
        check_training_labels(torch.tensor(labels))
    assert check_training_labels(Y) == 3
