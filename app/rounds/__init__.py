"""Rounds, turns of the loop: starting one, each step after the one before, triggers, the decision and the round's page.

It refuses to know run folders' contents beyond what `app/runs` tells.
"""
