"""arena-rank's side of bench/quality.py, run by the Python of its own virtual environment: `arena_side.py JOB.json`.

The job has `met`, rows of (first, second, winner), and `base`. Printed last is one JSON line: of each contender the log
strength less the base's and its deviation, by the curvature of the likelihood and by the sandwich that arena-rank takes its
intervals from. Imports nothing of ours.
"""

from __future__ import annotations

import sys

sys.path.pop(0)  # this folder, where queue.py would hide the library's `queue`

import json
from pathlib import Path

import numpy as np
from arena_rank.models.bradley_terry import BradleyTerry
from arena_rank.utils.data_utils import PairDataset

LITTLE = 1e-10  # a ridge that only keeps the curvature from being singular: strengths are known up to a constant


def main() -> int:
    import pandas as pd  # of that environment, which has it

    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    met = PairDataset.from_pandas(pd.DataFrame(job["met"], columns=["model_a", "model_b", "winner"]))
    model = BradleyTerry(n_competitors=len(met.competitors), ftol=1e-15, gtol=1e-12, max_iter=10_000)
    model.compute_ratings_and_cis(met)
    ratings = model.params["ratings"]
    figures = (ratings, met.pairs, met.outcomes, met.counts, met.opt_weights, LITTLE, len(met.competitors))
    curvature, spread = (np.asarray(one) for one in model.compute_hessian_and_covariance(*figures))
    base = met.competitors.index(job["base"])
    others = [place for place in range(len(met.competitors)) if place != base]
    inverse = np.linalg.inv(curvature[np.ix_(others, others)])  # the base does not move
    variances = {"curvature": np.diag(inverse), "sandwich": np.diag(inverse @ spread[np.ix_(others, others)] @ inverse)}
    strength = np.asarray(ratings) - float(ratings[base])
    found = {
        met.competitors[place]: {"strength": float(strength[place])}
        | {name: float(np.sqrt(one[number])) for name, one in variances.items()}
        for number, place in enumerate(others)
    }
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
