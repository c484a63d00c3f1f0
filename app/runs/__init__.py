"""Runs and the checkpoints they make: queueing, settings, files, charts, how long they take, what the worker is doing.

It refuses to know rounds, which are made of runs.
"""
