"""What runs will take of this machine's memory, said before they start.

It refuses to know how a model computes: that is arithmetic of `trainer/contract/memory`.
"""
