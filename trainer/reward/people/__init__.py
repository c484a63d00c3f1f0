"""Those who judged: what is known of how reliable each is, whether their tastes differ, and whose the reward follows.

It refuses to know names: people are the pseudonyms of the label files.
"""
