"""`python -m trainer.sample.prompt_lengths SPEC PARENT [MOST]`: how many tokens a model reads of each conversation.

Conversations come as JSON on standard input, a list of messages on each line. Standard output is one JSON list: for each its
tokens, or null where the chat template refuses it. With MOST the list ends at the first that has no more than so many.
PARENT: the process id of who asks, with whom this one ends. Nothing is fetched and no weights are read. The exit status is 0, 2
where this model's tokenizer cannot be used here, or `EXIT_RAN_AWAY` where its chat template does not come to an end.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from trainer.contract.environment import EXIT_RAN_AWAY, die_with, give_way, go_first
from trainer.contract.folder import Refused
from trainer.lm.backbone import BackboneError, ConversationRefused, TemplateRanAway, chat_ids
from trainer.lm.loading import load_tokenizer


def lengths(spec: str, conversations: Iterable[Sequence[dict[str, Any]]], most: int | None = None) -> list[int | None]:
    """Tokens of each conversation, up to the first that has at most `most`; None where the template has no place for it.

    Raises BackboneError where the tokenizer is not on this machine, cannot be read, or does not come to an end.
    """
    tokenizer = load_tokenizer(spec)
    found: list[int | None] = []
    for messages in conversations:
        try:
            tokens = len(chat_ids(tokenizer, messages))
        except TemplateRanAway:  # each takes seconds
            raise
        except ConversationRefused:
            found.append(None)
            continue
        found.append(tokens)
        if most is not None and tokens <= most:
            break
    return found


def main(arguments: Sequence[str]) -> int:
    spec, parent, *most = arguments
    go_first()
    give_way()
    die_with(int(parent))
    conversations = (json.loads(line) for line in sys.stdin.buffer)
    try:
        found = lengths(spec, conversations, int(most[0]) if most else None)
    except TemplateRanAway as error:
        print(error, file=sys.stderr)
        return EXIT_RAN_AWAY
    except (BackboneError, Refused) as error:
        print(error, file=sys.stderr)
        return 2
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
