"""Before a model is used: whether its files are whole, all its tensors were there, and its tokenizer and direction fit.

It refuses to know adapters, runs and rewards.
"""
