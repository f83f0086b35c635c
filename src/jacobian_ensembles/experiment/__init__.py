"""What a run is: its configuration, paths, code and devices, and what users add."""
