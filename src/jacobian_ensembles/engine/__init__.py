"""LeNets at the processor's limit: compiled loops over explicit vectors, without torch."""
