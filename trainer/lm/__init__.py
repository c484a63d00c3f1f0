"""One causal language model: opening it, running it forward, writing answers, its head and its value head.

It refuses to know rewards and PPO.
"""
