"""Rewards outside of the model: what others offer by name, an installed package or an address of the owner's.

It refuses to know models, PPO and how scores are mixed: messages and texts in, numbers out.
"""
