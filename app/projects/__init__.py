"""Projects: their settings, the questions people are asked, what a round costs its labellers.

It refuses to know a run's files and a person's verdicts.
"""
