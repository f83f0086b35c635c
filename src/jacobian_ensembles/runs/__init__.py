"""What a run is on disk: paths, provenance, devices, shipping, joining, archives, shipped models."""
