"""Lineage both ways: which runs and checkpoints learned from a label, and from which labels a checkpoint learned.

It refuses to know what labels say.
"""
