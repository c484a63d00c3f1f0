"""What runs measured, as a person reads it: figures in words, curves, how good a reward model is.

It refuses to know tables and requests: figures come in, words and drawings go out.
"""
