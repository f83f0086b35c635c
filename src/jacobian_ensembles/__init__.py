"""Jacobian ensembles: Jacobian-regularised training, ensembles, universal perturbations, and their evaluation.

Axis letters used in every docstring: B batch, M members, C classes, D inputs (pixels), K attack seeds,
P projections. Inputs are float32 in [0, 1] of shape (B, 1, 28, 28); eps and lambda live in that space.
"""

__version__ = "0.1.0"
