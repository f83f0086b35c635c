"""One module per rule of the workflow: it reads files, calls the science and writes files."""
