"""Blind evaluation: whether people prefer a candidate to the baseline, decided at every look with one error; and the leaderboard.

It refuses to know how a person is asked and what a label looks like beyond its verdict.
"""
