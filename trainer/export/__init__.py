"""Checkpoints of ours as folders that plain transformers opens.

Nothing of the loop imports it.
"""
