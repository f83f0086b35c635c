"""The networks that learners can be, and products with their Jacobians."""
