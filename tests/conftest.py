"""What every test has around it."""

import pytest


@pytest.fixture(autouse=True)
def _on_the_cpu(request, monkeypatch):
    """Hide the GPUs, of which only one job at a time may hold a slot, from tests that do not ask for one."""
    if not request.node.get_closest_marker("gpu"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
