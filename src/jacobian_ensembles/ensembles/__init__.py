"""Ensembles: convex combinations of learners, and the methods that make them."""
