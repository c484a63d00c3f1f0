"""The leaderboard: all contenders of a project by what people said of them blind, on prompts that no training saw.

It refuses to know who is promoted, and why.
"""
