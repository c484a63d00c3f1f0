"""The background process: reward models, PPO, sampling and pretraining, each a command on a run folder."""
