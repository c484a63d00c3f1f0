"""Prompts: their identity, their split, their import.

It refuses to know who answers them.
"""
