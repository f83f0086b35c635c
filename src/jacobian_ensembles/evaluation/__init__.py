"""Evaluation: accuracy under perturbations, worst cases, intervals, Jacobian norms, the theorem."""
