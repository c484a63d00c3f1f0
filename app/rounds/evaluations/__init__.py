"""Evaluations as pages: those of a project, one of them with its story, and asking for one outside of rounds.

It refuses to know how people are asked, and what decides.
"""
