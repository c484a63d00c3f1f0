"""The installation's people as its owners see them: who is active, and who owns it.

It refuses to know roles in projects.
"""
