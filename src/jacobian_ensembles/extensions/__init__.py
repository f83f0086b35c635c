"""Users' code: references, the files they import, where data come from, digests of code."""
