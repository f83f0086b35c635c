"""What learners minimise: one file per defence."""
