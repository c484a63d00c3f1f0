"""What a run takes of a machine's memory at its peak: arithmetic on a model's sizes and a run's settings.

Standard library only. It refuses to know how a model computes.
"""
