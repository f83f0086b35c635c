"""Configuration: the schema, the grid, reading, and what is wrong with one."""
