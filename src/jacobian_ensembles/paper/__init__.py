"""Everything specific to the paper: published numbers, Table 1, claims, figures."""
