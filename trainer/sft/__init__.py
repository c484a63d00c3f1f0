"""Next-token training on texts and demonstrations.

It refuses to know rewards.
"""
