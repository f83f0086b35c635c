"""Datasets: what is known of each, fetching them, folders of a user's images, checks and splits."""
