"""Judging the judges: how far people agree, how steady each of them is, and what follows from it.

It refuses to rank people, and to know what a reward model makes of their verdicts.
"""
