"""The learners' networks, and products with their Jacobians."""
