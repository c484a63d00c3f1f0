"""Proximal policy optimisation of a language model against a reward.

It refuses to know how a reward was learned.
"""
