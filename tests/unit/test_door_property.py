"""The door under arbitrary images, labels and outputs: a right result, or an error that says what to do."""

import re

import numpy as np
import torch
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import nn

import jacobian_ensembles as je
from jacobian_ensembles.attacks.sgd_uap import SgdUap
from jacobian_ensembles.data.arrays import DataError, check_arrays

many = settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
INTEGERS = [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool]
SHAPES = st.lists(st.integers(1, 4), min_size=2, max_size=4)
ODD = [float("nan"), float("inf"), -float("inf"), 1.0000001, -1e-9, 255.0, -1.0, 1e30]


def is_clear(error):
    """An error of the door: what was got or returned, what is allowed, what to do; never a message from the inside."""
    text = str(error)
    return isinstance(error, ValueError) and re.search(r"[Gg]ot |returned|cannot be differentiated|steps had", text)


@st.composite
def image_tensors(draw):
    shape = tuple(draw(st.one_of(*[SHAPES] * 5, st.lists(st.integers(0, 4), max_size=4))))
    values = torch.rand(shape, generator=torch.Generator().manual_seed(draw(st.integers(0, 99))))
    if draw(st.integers(0, 4)) == 4 and values.numel():
        values.view(-1)[draw(st.integers(0, values.numel() - 1))] = draw(st.sampled_from(ODD))
    if draw(st.integers(0, 9)) == 9:
        values = draw(st.sampled_from([255 * values, 2 * values - 1, values + 0.5]))
    values = values.nan_to_num() if (kind := draw(st.sampled_from(FLOATS * 6 + INTEGERS))) in INTEGERS else values
    return values.to(kind)


def label_tensors(images):
    count = len(images) if images.ndim else 1
    shapes = st.sampled_from([(count,)] * 9 + [(count, 1), (count, 3), (count + 1,), ()])
    low = st.sampled_from([0] * 9 + [1, -1, 250])
    kinds = st.sampled_from(INTEGERS * 2 + [torch.float32])

    def make(shape, first, kind):
        size = int(np.prod(shape))
        return (first + torch.arange(size) % 3).reshape(shape).to(kind)

    return st.builds(make, shapes, low, kinds)


class Answers(nn.Module):
    """A model that answers in some form."""

    def __init__(self, form, classes, writes):
        super().__init__()
        self.form, self.classes, self.writes = form, classes, writes

    def forward(self, x):
        flat = x.flatten(1).mean(1, keepdim=True)
        scores = flat * torch.arange(self.classes).to(x) + 0
        if self.writes:
            x.mul_(0)
        return self.form(scores)


FORMS = [
    *[lambda z: z] * 12, lambda z: z.log_softmax(1), lambda z: z.softmax(1), lambda z: z.half(),
    lambda z: z.double(), lambda z: (z, z), lambda z: {"out": z}, lambda z: z[:, 0], lambda z: z[..., None],
    lambda z: None,
    lambda z: z.argmax(1), lambda z: z * float("nan"), lambda z: z.detach(), lambda z: z.round(), lambda z: z[:0],
    lambda z: z[:, :0], lambda z: [z],
    lambda z: z.to(torch.int32), lambda z: z.T, lambda z: z.tolist(), lambda z: 3,
]  # fmt: skip


@many
@given(st.data())
def test_a_right_result_or_a_clear_error(data):
    images = data.draw(image_tensors())
    labels = data.draw(label_tensors(images))
    classes, form, writes = data.draw(
        st.tuples(st.sampled_from([3, 4, 3, 4, 3, 2, 1]), st.sampled_from(FORMS), st.booleans())
    )
    model = Answers(form, classes, writes)
    kept = images.clone(), labels.clone()
    deltas = torch.zeros(1, *images.shape[1:]) if images.ndim else None
    results = {}
    for name, call in {
        "evaluate": lambda: je.evaluate(model, images, labels, deltas),
        "craft": lambda: je.craft_uaps(model, images, labels, 0.1, SgdUap(iterations=2, batch_size=2)),
        "norm": lambda: je.jacobian_norm(model, images),
    }.items():
        try:
            results[name] = call()
        except ValueError as error:
            assert is_clear(error), error  # noqa: PT017
        assert all(torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in zip((images, labels), kept, strict=True))
    event(f"gone through: {', '.join(results) or 'nothing'}")
    if "evaluate" in results:
        found = results["evaluate"]
        with torch.no_grad():
            scores = Answers(form, classes, False)(images.float() if images.element_size() < 4 else images)
        assert (found.predicted == scores.argmax(1).numpy()).all()
        assert found.clean_accuracy == float((scores.argmax(1) == labels.long()).double().mean())
        assert (found.correct[0] == (found.predicted == found.labels)).all()
    if "craft" in results:
        assert "evaluate" in results
        assert results["craft"].isfinite().all()
        assert results["craft"].abs().max() <= 0.1 + 1e-6
    if "norm" in results:
        assert results["norm"].shape == images.shape[:1]
        assert results["norm"].isfinite().all()


ARRAYS = hnp.arrays(
    st.sampled_from([np.uint8, np.int64, np.float32, np.bool_]),
    hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=6),
)


@many
@given(st.data())
def test_arrays_become_a_dataset_or_a_clear_error(data):
    shape = data.draw(st.sampled_from([(4, 4), (4, 4, 3), (3, 8, 8), (1, 1), (0, 4)]))
    made = {}
    for part, count in (("train", 6), ("test", 4)):
        made[f"{part}_images"] = data.draw(st.one_of(st.just(np.zeros((count, *shape), np.uint8)), ARRAYS))
        made[f"{part}_labels"] = data.draw(
            st.one_of(st.just(np.arange(count) % 3), st.just(np.arange(count) % 3 + 1), ARRAYS)
        )
    try:
        out = check_arrays("mine", made)
    except DataError as error:
        assert re.match(r"mine: .*(got|occurs|move channels last)", str(error), re.DOTALL)  # noqa: PT017
        return
    assert {a.dtype for a in out.values()} == {np.dtype(np.uint8)}
    for part in ("train", "test"):
        assert len(out[f"{part}_images"]) == len(out[f"{part}_labels"]) > 0
        assert (out[f"{part}_labels"] == made[f"{part}_labels"]).all()
    assert set(out["test_labels"]) <= set(out["train_labels"]) == set(range(int(out["train_labels"].max()) + 1))
