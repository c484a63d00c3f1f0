"""Reward models: labels in, a checkpoint that scores answers out, with an honest account of how far it agrees with people.

It refuses to know PPO and the database.
"""
