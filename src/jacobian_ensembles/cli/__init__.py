"""The command line: the parser, one module per family of commands, progress."""
