"""What attacks ascend, on a block of images: each loss, and its gradient with respect to the learners' logits.

Every loss is a function of log-probabilities: of the ensemble, or of each learner. They are combined, and gradients
handed back, as :class:`~jacobian_ensembles.ensembles.ensemble.Ensemble` and
:mod:`~jacobian_ensembles.attacks.losses` define it.
"""

from __future__ import annotations

from jacobian_ensembles.engine.activations import exp, log
from jacobian_ensembles.engine.compiling import inner
from jacobian_ensembles.engine.memory import copy
from jacobian_ensembles.engine.vectors import constant, load, store, where

#: Numbers of the losses, by their names in the attack's settings.
LOSSES = {"cross_entropy": 0, "probability": 1, "margin": 2, "members": 3}
#: Numbers of the ways to average, by their names.
AVERAGES = {"logits": 0, "probabilities": 1}
_CROSS_ENTROPY, _PROBABILITY, _MARGIN, _MEMBERS = range(4)


@inner
def log_softmax(z, classes, out):  # type: ignore[no-untyped-def]
    """Logits (classes,) to log-probabilities."""
    top = load(z, 0)
    for c in range(1, classes):
        v = load(z, c)
        top = where((v > top) | (v != v), v, top)
    total = constant(0.0)
    for c in range(classes):
        total = total + exp(load(z, c) - top)
    shift = log(total)
    for c in range(classes):
        store(out, c, load(z, c) - top - shift)


@inner
def mean_of(logits, members, stride, classes, out):  # type: ignore[no-untyped-def]
    """The mean over members of logits (members, stride)."""
    for c in range(classes):
        total = load(logits, c)
        for m in range(1, members):
            total = total + load(logits, m * stride + c)
        store(out, c, total / constant(float(members)))


@inner
def combined(logits, members, stride, classes, average, each, out):  # type: ignore[no-untyped-def]
    """Log-probabilities of an ensemble; ``each`` gets those of the members, or of their mean logit, which is one.

    Returns:
        How many there are in ``each``.
    """
    if average == 0 or members == 1:
        mean_of(logits, members, stride, classes, each)
        log_softmax(each, classes, each)
        copy(each[:classes], out)
        return 1
    for m in range(members):
        log_softmax(logits[m * stride :], classes, each[m * stride :])
    for c in range(classes):
        top = load(each, c)
        for m in range(1, members):
            v = load(each, m * stride + c)
            top = where((v > top) | (v != v), v, top)
        total = constant(0.0)
        for m in range(members):
            total = total + exp(load(each, m * stride + c) - top)
        store(out, c, top + log(total / constant(float(members))))
    return members


@inner
def ascent(log_p, labels, classes, kind, cap, g):  # type: ignore[no-untyped-def]
    """A loss of log-probabilities (classes,), and its gradient with respect to them in ``g``.

    The gradient is zero where the loss exceeds the cap, and where the label is negative: there is no image.
    """
    y, true = load(labels, 0), constant(0.0)
    for c in range(classes):
        true = where(y == c, load(log_p, c), true)
    here = y >= 0
    if kind == _MARGIN:
        other, ties = constant(-float("inf")), constant(0.0)
        for c in range(classes):
            v = load(log_p, c)
            v = where(y == c, constant(-float("inf")), v)
            ties = where((v > other) | (v != v), constant(1.0), ties + where(v == other, constant(1.0), constant(0.0)))
            other = where((v > other) | (v != v), v, other)
        d = other - true
        e = exp(where(d < 0.0, d, constant(0.0) - d))
        loss = where(d < 0.0, e, constant(1.0)) / (e + 1.0)
        slope = loss * (1.0 - loss)
        for c in range(classes):
            share = where(load(log_p, c) == other, slope / ties, constant(0.0))
            store(g, c, where(here, where(y == c, constant(0.0) - slope, share), constant(0.0)))
        return loss
    if kind == _PROBABILITY:
        slope = exp(true)
        loss = 1.0 - slope
    else:
        loss = constant(0.0) - true
        most = constant(cap)
        slope = where(loss <= most, constant(1.0), constant(0.0))
        loss = where(loss > most, most, loss)
    for c in range(classes):
        store(g, c, where(here & (y == c), constant(0.0) - slope, constant(0.0)))
    return loss


@inner
def handed_back(g, log_p, whole, classes, parts, share, v):  # type: ignore[no-untyped-def]
    """The gradient ``g`` with respect to log-probabilities ``whole``, handed to one part's logits, times ``share``.

    ``log_p`` are the log-probabilities of the part, one of ``parts`` whose probabilities are averaged.
    """
    total, some = constant(0.0), constant(float(parts))
    for c in range(classes):
        r = load(g, c)
        if parts > 1:
            r = r * exp(load(log_p, c) - load(whole, c)) / some
        store(v, c, r)
        total = total + r
    for c in range(classes):
        p = exp(load(log_p, c))
        store(v, c, (load(v, c) - p * total) * share)


@inner
def loss_and_gradient(  # type: ignore[no-untyped-def]
    logits, members, stride, classes, average, kind, cap, labels, share, each, scratch, v, losses
):
    """The losses of a block, and the gradient of ``share`` times their sum with respect to all logits, in ``v``.

    ``logits``, ``each`` and ``v`` are (members, stride); what ``v`` has beyond the classes stays as it is.
    """
    whole, g = scratch[:classes], scratch[classes:]
    if kind == _MEMBERS:
        factor, total = constant(share / members), constant(0.0)
        for m in range(members):
            own, to = each[m * stride :], v[m * stride :]
            log_softmax(logits[m * stride :], classes, own)
            total = total + ascent(own, labels, classes, _CROSS_ENTROPY, cap, g)
            handed_back(g, own, own, classes, 1, factor, to)
        store(losses, 0, total / constant(float(members)))
        return
    parts = combined(logits, members, stride, classes, average, each, whole)
    store(losses, 0, ascent(whole, labels, classes, kind, cap, g))
    if parts > 1:
        for m in range(members):
            at = m * stride
            handed_back(g, each[at:], whole, classes, parts, constant(share), v[at:])
        return
    handed_back(g, each, whole, classes, 1, constant(share / members), v)
    for m in range(1, members):
        copy(v[:classes], v[m * stride :])


@inner
def most_likely(logits, members, stride, classes, average, each, scratch, taken):  # type: ignore[no-untyped-def]
    """The first class of the largest log-probability: int32."""
    combined(logits, members, stride, classes, average, each, scratch)
    best, which = load(scratch, 0), constant(0)
    for c in range(1, classes):
        v = load(scratch, c)
        which, best = where(v > best, constant(c), which), where(v > best, v, best)
    # NaN has no class
    store(taken, 0, where(best != best, constant(-1), which))
