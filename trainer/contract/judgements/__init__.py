"""What a judgement of several parts says, for those who store it and those who learn from it.

Standard library only: it refuses to know tables and tensors.
"""
