"""Rankings: several answers to one prompt, put in order by one person; what an order says, how likely it is, its rows of a fit.

It refuses to know files and models. A ranking of two is a comparison: the likelihood is the same to the last digit.
"""
