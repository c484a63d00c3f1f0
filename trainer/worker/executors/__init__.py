"""Who starts a run that the worker has claimed: one process here, or several.

It refuses to know tables: of a run it knows its kind, its folder and what it is told. The supervisor knows `executor.py` alone.
"""
