"""What a PPO run says of itself: the metrics of each rollout, the panel's answers, and the figures that it ends with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

from trainer.contract.folder import RunFolder, read_jsonl
from trainer.contract.messages import Message, as_json
from trainer.contract.ppo_config import FEWEST_WATCHED
from trainer.files.metrics import Metrics
from trainer.ppo.advantages import k1, masked_mean
from trainer.ppo.guards import DEAR
from trainer.ppo.learner import Learner
from trainer.ppo.readability import REPEATED, repeated
from trainer.ppo.rollout import Rollout

NOTICED: Final = 0.05  # rise of the share of answers that are cut, beyond which it is said in words
STAGES = ("time/generate_s", "time/score_s", "time/train_s")


def write(
    folder: RunFolder,
    metrics: Metrics,
    learner: Learner,
    rollout: Rollout,
    figures: Mapping[str, float],
    clock: Sequence[float],  # when each stage began, and the last ended
) -> None:
    """Add an update's figures to metrics.jsonl and its panel to samples.jsonl."""
    seconds = {name: end - begin for name, (begin, end) in zip(STAGES, pairwise(clock), strict=True)}
    rollbacks = {"charts/rollbacks": learner.rollbacks}
    metrics.write(learner.update, {**figures, **seconds, **rollbacks})
    folder.append("samples.jsonl", panel_rows(learner, rollout))


def rollout_metrics(rollout: Rollout, learner: Learner) -> dict[str, float]:
    """What a rollout says of the policy that wrote it; every mean is over answers' own tokens only."""
    own, answers, length = rollout.trajectory, rollout.answers[: rollout.episodes], learner.guards.length
    sampled_kl = k1(own.logprobs, own.ref_logprobs)
    others = {}
    if own.outside is not None:
        others = {f"outside/{name}": mean for name, mean in zip(learner.outside, own.outside.mean(0).tolist(), strict=True)}
    if own.judged is not None and own.overall is not None:
        others |= {"rollout/judged": float(own.judged.mean()), "rollout/overall": float(own.overall.mean())}
    off = own.sampler_difference
    if off is not None:
        others["rollout/sampler_difference_nats_per_token"] = float(off.mean())
        others["rollout/sampler_difference_rms_nats_per_token"] = float(off.square().mean().sqrt())
    return others | {
        "rollout/score": float(own.scores.mean()),
        "rollout/score_deviation": float(own.scores.std(correction=0)),
        "rollout/reward": float((own.paid_scores - learner.penalty(own).sum(1)).mean()),
        "rollout/length": float(own.lengths.float().mean()),
        "rollout/length_ratio": length.ratio,
        "rollout/length_price": length.price,
        "rollout/truncated": sum(given.finish_reason == "length" for given in answers) / len(answers),
        "rollout/distinct_1": distinct([given.ids for given in answers], 1),
        "rollout/distinct_2": distinct([given.ids for given in answers], 2),
        "rollout/fluency": float(masked_mean(own.under_base, own.mask)),
        "rollout/repetition": sum(repeated(given.ids, REPEATED) for given in answers) / len(answers),
        "rollout/entropy": float(masked_mean(own.entropy, own.mask)),
        "kl/nats_per_answer": float(sampled_kl.sum(1).mean()),
        "kl/nats_per_token": float(masked_mean(sampled_kl, own.mask)),
        "kl/exact_nats_per_answer": own.kl_nats,
        "kl/beta": learner.beta,
        "kl/from_base_nats_per_answer": own.from_base_nats,
        "kl/base_weight": learner.anchor,
    }


def distinct(answers: Sequence[Sequence[int]], n: int) -> float:
    """Different n-grams over all n-grams of all answers (Li et al. 2016, arXiv:1510.03055); 1.0 when there is none."""
    counts = Counter(tuple(ids[at : at + n]) for ids in answers for at in range(len(ids) - n + 1))
    return len(counts) / counts.total() if counts else 1.0


def panel_rows(learner: Learner, rollout: Rollout) -> list[Mapping[str, Any]]:
    """The rows of samples.jsonl: the panel's answers at this update, for a person to read."""
    kl = rollout.measured.exact_kl.sum(1)
    return [
        {
            "step": learner.update,
            "prompt_id": rollout.asked[row].prompt_id,
            "text": learner.backbone.tokenizer.decode(rollout.answers[row].ids, skip_special_tokens=True),
            "score": float(rollout.measured.scores[row]),
            "kl_nats": float(kl[row]),
        }
        for row in range(rollout.episodes, rollout.episodes + rollout.panel)
    ]


def summary(figures: Mapping[str, float]) -> Message:
    """An update in one line."""
    score, kl, length = (figures[name] for name in ("rollout/score", "kl/exact_nats_per_answer", "rollout/length"))
    return Message("ppo_update", score=score, kl=kl, length=round(length))


def whole(taken: float, best: Mapping[str, Any] | None, updates: int) -> Message:
    """How a run of so many updates ends that no guard ended; `taken` is what the last price on length took from answers, `best`
    what held-out prompts like.
    """
    if taken >= DEAR:
        return Message("all_updates_done_at_a_price", setting="ppo.length_control", choice="ppo.length_control.off")
    if best is not None and best["update"] < updates:
        return Message("kept_by_held_out", update=best["update"], gain=best["gain"])
    return Message("all_updates_done")


def result(folder: RunFolder, learner: Learner, reason: Message) -> dict[str, Any]:
    """The figures of result.json: the policy kept, as its own rollout measured it, beside the one the run started from.

    `heldout_gain` compares like with like: answers to the same held-out prompts, before and after, by the same estimates.
    """
    rows = {row["step"]: row for row in read_jsonl(folder.file("metrics.jsonl"))}
    start, kept = rows[min(rows)], rows[learner.update]
    return (
        {
            "reason": as_json(reason),
            "updates": learner.update,
            "rollbacks": learner.rollbacks,
            "beta": kept["kl/beta"],
            "score_before": start["rollout/score"],
            "score": kept["rollout/score"],
            "kl_nats_per_answer": kept["kl/exact_nats_per_answer"],
            "taken_back": learner.taken_back,
            "length_before": learner.guards.length.start,
            "length": kept["rollout/length"],
            "truncated_before": start["rollout/truncated"],
            "truncated": kept["rollout/truncated"],
            "heldout_gain": kept.get("heldout/gain"),
            "heldout_gain_at_least": kept.get("heldout/gain_at_least"),
            "judged_before": start.get("rollout/judged"),
            "judged": kept.get("rollout/judged"),
            "entropy": kept["rollout/entropy"],
        }
        | _outside(start, kept)
        | _more_cut(start, kept)
    )


def _outside(start: Mapping[str, float], kept: Mapping[str, float]) -> dict[str, float]:
    """Of each reward outside of the model its mean, as it was given: `outside/NAME`, and `outside/NAME/before`."""
    names = [name for name in kept if name.startswith("outside/")]
    return {f"{name}/before": start[name] for name in names} | {name: kept[name] for name in names}


def _more_cut(start: Mapping[str, float], kept: Mapping[str, float]) -> dict[str, Any]:
    """`more_cut`, in words, where the share of cut answers rose by more than `NOTICED`, to held-out prompts or others."""
    for name in ("heldout/truncated", "rollout/truncated"):
        was, now = start.get(name), kept.get(name)
        if was is not None and now is not None and now - was > NOTICED:
            room, cost = "ppo.max_new_tokens", "ppo.penalise_truncation"
            return {"more_cut": as_json(Message("more_cut", now=now, was=was, setting=room, choice=cost))}
    return {}


def not_watched(prompts: int) -> dict[str, Any]:
    """`not_watched`, in words, for a run whose held-out prompts are too few to say which update is kept."""
    if prompts >= FEWEST_WATCHED:
        return {}
    return {"not_watched": as_json(Message("not_watched", least=FEWEST_WATCHED, held_out=prompts))}


def rewind(folder: RunFolder, update: int) -> None:
    """Drop what was written about updates that will be done again."""
    for name in ("metrics.jsonl", "samples.jsonl"):
        Metrics(folder.file(name)).rewind(update)
