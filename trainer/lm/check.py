"""`python -m trainer.lm.check SPEC [PARENT]`: whether a model can serve as a project's base: it opens, and writes two tokens.

One line of JSON says so: {"ok": true}, or {"ok": false, "reason": MESSAGE}. The exit status is 0 or 2. PARENT: the process id of
who asks, with whom this one ends.
"""

from __future__ import annotations

import json
import sys

import torch

from trainer.contract.environment import die_with, go_first
from trainer.contract.folder import Refused
from trainer.contract.messages import Message, as_json
from trainer.lm.backbone import BackboneError, chat_ids
from trainer.lm.generate import generate
from trainer.lm.loading import load_policy

QUESTION = [{"role": "user", "content": "Hello!"}]


def problem_with(spec: str) -> Message | None:
    """Why the model cannot be used; none where it can."""
    try:
        policy = load_policy(spec, "auto")
        ids = chat_ids(policy.tokenizer, QUESTION, policy.day)
        draws = torch.Generator().manual_seed(0)
        generate(policy, [ids, ids], max_new_tokens=2, temperature=1.0, generator=draws, batch_size=2)
    except (BackboneError, Refused) as error:
        return error.message
    except FloatingPointError:
        return Message("cannot_be_sampled", model=spec)
    return None


def main(arguments: list[str]) -> int:
    spec, *parent = arguments
    go_first()
    for one in parent:
        die_with(int(one))
    problem = problem_with(spec)
    print(json.dumps({"ok": problem is None, "reason": None if problem is None else as_json(problem)}))
    return 0 if problem is None else 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
