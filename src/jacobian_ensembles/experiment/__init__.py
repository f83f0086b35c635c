"""What a run is: its configuration, paths, code, devices, and what users bring."""
