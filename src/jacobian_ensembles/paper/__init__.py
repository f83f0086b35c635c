"""The paper's own: published numbers, Table 1, claims, figures."""
