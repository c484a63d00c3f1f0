"""Trains a policy on people's labels themselves, without a reward model: DPO and KTO.

Its entry is `run.run`. Knows how labels are read (`trainer.reward.data`), and no reward model, no PPO and no database.
"""
