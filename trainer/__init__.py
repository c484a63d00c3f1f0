"""The background process: reward models, PPO, sampling and pretraining, each a command on a run folder.

But for `trainer/worker/`, it works from files and a seed, and refuses to know the database and the web.
"""

import os
import sys

# Where this package is installed, transformers fetches kernels of the hub with it and runs them: for attention that a
# configuration names, and for some kinds of model unasked. They are code.
sys.modules["kernels"] = None  # type: ignore[assignment]

# We read no pickle. Should a library do so for a model of ours all the same, then one that holds tensors and runs nothing.
os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"
