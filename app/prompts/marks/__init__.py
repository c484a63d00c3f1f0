"""Marks of prompts: their language, tags and skills, set for many at once.

It refuses to know who is asked because of them.
"""
