"""Answers and scores at once: which models are live, and the warm process of the trainer that keeps them open.

It refuses to know how a model answers, and stores nothing.
"""
