"""The background process: reward models, PPO, sampling and pretraining, each a command on a run folder.

But for `trainer/worker/`, it works from files and a seed, and refuses to know the database and the web.
"""
