"""The sample run: answers to prompts, saved as they end.

It refuses to know who will judge them.
"""
