"""Is the robustness real: flags, stress, transfer, images one by one."""
