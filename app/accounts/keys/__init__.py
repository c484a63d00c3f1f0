"""API keys: making, listing and ending them.

It refuses to know what a call does.
"""
