"""Runs, rounds, checkpoints and triggers: the loop, as the web process sees it."""
