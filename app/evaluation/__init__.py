"""Blind evaluation: whether people prefer a candidate to the baseline, decided at every look with one error; and the leaderboard.

It refuses to know rounds: what a decision leads to is theirs. Its mathematics know no tables.
"""
