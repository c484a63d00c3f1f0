"""Known answers: written or taken from tasks on which all agreed, asked silently, and who is paused for missing too many.

It refuses to explain itself to who is asked: that is practice.
"""
