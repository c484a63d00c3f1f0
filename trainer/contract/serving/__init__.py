"""The warm process, which keeps models open and answers at once (docs/decisions/0034): where it is found, what it is asked.

It refuses to know how models answer.
"""
