"""What the web process and the trainer agree on: every setting of a run, what a run folder holds.

Standard library only: no torch, no tables.
"""
