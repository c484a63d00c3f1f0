"""A reward checkpoint that scores answers: mean 0 and deviation 1 on the reference panel it was normalised on.

It works on the frozen base inside a policy's backbone, so that policy, reference and reward share one model in memory.

A checkpoint of form `head` is `head.safetensors` and `head.json`; without any of our code its score of an answer, given the
mean hidden states of its tokens under the base (`layer_k` = hidden_states[k]), their sum at layer 0 (`sum_0`) and the log of
their number (`log_length`), is

    t, j = safetensors.torch.load_file("head.safetensors"), json.load(open("head.json"))
    r = sum(((x[g] - t[g + ".centre"]) / t[g + ".spread"]) @ t[g + ".weights"] for g in j["groups"])
    score = (r - j["panel_mean"]) / j["panel_deviation"]

less `disagreement` times the spread of the members' scores (`member-K`, read alike, each fitted without one fold of the prompts)
times the root of their number less one. Criteria (`criterion-KEY`) are read alike; `mix` in head.json
says what each counts (see `score_weights.py`). Form `lora` is a peft adapter, and a linear head on the final hidden state of the
end token, or of the last where the answer was cut.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file
from torch import Tensor

from trainer.contract.messages import Message
from trainer.files import checkpoint
from trainer.lm.backbone import Backbone, BackboneError, bare_base, chat_ids, eos_ids, takes_adapters
from trainer.lm.batched_reading import StatesOf, batches, read
from trainer.lm.forward import Packed, has_trunk
from trainer.lm.integrity.loaded_whole import explained
from trainer.lm.loading import Learned, load_backbone
from trainer.reward.adapter import end_states
from trainer.reward.data import TokenSequence, ids_of_text, token_sequence
from trainer.reward.features import Pooler, answer_means, groups, layers_of
from trainer.reward.flags import flag_cost
from trainer.reward.head.model import Head
from trainer.reward.head.partial import PartialScores
from trainer.reward.head_files import JUDGE, ScaledHead, jackknife_deviation, normalised, read_heads, read_members
from trainer.reward.score_weights import FLAGS, OVERALL, ScoreWeights

ALARM = 2.0  # deviations under an estimate where it is taken to be at the least
Ids = Sequence[Sequence[int]]  # token ids of B texts


class Verdicts(NamedTuple):
    """What a reward says of B answers, (B,) float32 each."""

    scores: Tensor  # what PPO is rewarded for: a lower estimate of the overall verdict, criteria mixed in, less what flags cost
    overall: Tensor  # by overall verdicts alone, nothing taken off: what the judge is set against
    judged: Tensor | None  # by the judge, on its own panel scale; without one a still lower estimate; None without members
    members: (
        Tensor | None
    )  # (B, K) scores where each head that learned without one fold of the prompts stands for the overall one


class Scorer:
    """Scores answers with either form of reward. Neither batch size nor order nor padding changes a score.

    It is what `trainer.ppo.reward` calls a reward.
    """

    def __init__(
        self,
        backbone: Backbone,
        settings: dict[str, Any],
        head: Head | None,
        adapter: Adapter | None,
        judge_head: ScaledHead | None = None,
        others: Mapping[str, ScaledHead] | None = None,
        members: Sequence[ScaledHead] = (),
    ) -> None:
        self.backbone = backbone
        self.settings = settings
        self.head = head
        self.adapter = adapter
        self.judge_head = judge_head  # learned from prompts that the reward never saw; None where none were kept from it
        self.members = list(members)  # each learned the overall verdict without one fold of the prompts
        self.disagreement = float(settings.get("disagreement", 0.0))  # deviations of the members' taken off a score
        self.mix = ScoreWeights(**settings["mix"]) if "mix" in settings else ScoreWeights({OVERALL: 1.0})
        wanted = {key for key in (*self.mix.weights, FLAGS) if key in (others or {})}
        self.others = {key: head for key, head in (others or {}).items() if key in wanted}  # criteria and flags that count
        self.max_tokens = int(settings["max_tokens"])

    @property
    def layers(self) -> list[int]:
        """Layers of the base that are read for scores, members and judge; an adapter's score needs a pass of its own besides."""
        heads = [self.judge_head, *self.members, *self.others.values()]
        used = [scaled.head for scaled in heads if scaled] + ([self.head] if self.head else [])
        return layers_of(name for head in used for name in head.groups)

    def score(self, prompt_ids: Ids, response_ids: Ids, cut: Sequence[bool] = ()) -> Tensor:
        """(B,) float32 scores of answers (token ids, with their end token or without) to prompts; without `cut` all ended."""
        return self.verdicts(prompt_ids, response_ids, cut).scores

    def verdicts(self, prompt_ids: Ids, response_ids: Ids, cut: Sequence[bool] = ()) -> Verdicts:
        """Everything that is said of answers, given as to `score`."""
        if not prompt_ids:
            return Verdicts(torch.empty(0), torch.empty(0), None, None)
        order: list[int] = []
        said: list[Verdicts] = []
        for rows, sequences in self._batches(prompt_ids, response_ids, cut):
            features = self._read(sequences) if self.layers else {}
            order += rows
            said.append(self._say(self._own(sequences, features), features))
        back = torch.tensor(order).argsort()
        return Verdicts._make(torch.cat(parts)[back] if parts[0] is not None else None for parts in zip(*said, strict=True))

    def onlooker(self, backbone: Backbone, packed: Packed, partial: bool = False) -> Onlooker | None:
        """One that needs no pass of its own; None where the backbone has no such pass, or answers are too long."""
        same_pass = (
            self.backbone is backbone
            and self.head is not None
            and has_trunk(backbone)
            and len(packed.prefix) + int(packed.lengths.max()) <= self.max_tokens
        )
        return Onlooker(self, packed, partial) if same_pass else None

    def partial(self, prompt_ids: Ids, response_ids: Ids) -> Tensor | None:
        """(B, T) what answers were worth before each of their tokens, by a pass of its own; None where an adapter scores.

        T is the longest answer's tokens, its end among them. Nothing is added by what is beyond the longest text it reads.
        """
        if self.head is None:
            return None
        lengths = torch.tensor([len(response) for response in response_ids])
        found = self._partial_scores(len(lengths), int(lengths.max()))
        layers = self.layers
        for rows, sequences in self._batches(prompt_ids, response_ids, ()):

            def visit(layer: int, at: StatesOf, rows: list[int] = rows, sequences: list[TokenSequence] = sequences) -> None:
                for place, (row, item) in enumerate(zip(rows, sequences, strict=True) if layer in layers else ()):
                    found.read(layer, row, at(place, slice(len(item.prompt_ids), len(item.ids))))

            with torch.no_grad(), self._bare() as bare:
                read(bare, [item.ids for item in sequences], visit, max(layers, default=0))
        return found.before_each(torch.arange(int(lengths.max())) < lengths[:, None])

    def without_length(self, scores: Tensor, lengths: Tensor) -> Tensor:
        """(B,) scores less what the length of an answer alone foretells, from its `lengths` (B,) in tokens without the end.

        The slope of the score on the log length was found over all labelled answers, so that every path by which length may
        enter a score is taken out, not only the covariate's.
        """
        apart = lengths.clamp(min=1).double().log() - float(self.settings["length_mean"])
        return scores - (float(self.settings["length_slope"]) * apart).to(scores.dtype)

    def score_texts(self, answers: Sequence[tuple[Sequence[dict[str, str]], str]]) -> Tensor:
        """(B,) float32 scores of answers given as (messages, text)."""
        tokenizer = self.backbone.tokenizer
        prompts = [chat_ids(tokenizer, messages, self.backbone.day) for messages, _ in answers]
        return self.score(prompts, [ids_of_text(self.backbone, text) for _, text in answers])

    def _partial_scores(self, answers: int, width: int) -> PartialScores:
        if self.head is None:
            raise ValueError("what an adapter makes of half an answer is not known")
        return PartialScores(self.head, self.settings, answers, width, self.mix.weights.get(OVERALL, 0.0))

    def _batches(
        self, prompt_ids: Ids, response_ids: Ids, cut: Sequence[bool]
    ) -> Iterator[tuple[list[int], list[TokenSequence]]]:
        """Answers that are read together, with their places among those asked about."""
        ends = eos_ids(self.backbone)
        sequences = [
            token_sequence(list(prompt), list(response), ends, self.max_tokens, was_cut)
            for prompt, response, was_cut in zip(prompt_ids, response_ids, cut or [False] * len(prompt_ids), strict=True)
        ]
        for rows in batches(self.backbone, [item.ids for item in sequences]):
            yield rows, [sequences[row] for row in rows]

    def _say(self, own: Tensor, features: dict[str, Tensor]) -> Verdicts:
        """All verdicts, from those by the overall head or adapter and the features that the other heads read."""
        members = torch.stack([member.score(features) for member in self.members], 1) if self.members else None
        doubt = jackknife_deviation(members) if members is not None else torch.zeros_like(own)
        judged = own - ALARM * doubt if members is not None else None
        if self.judge_head is not None:
            judged = self.judge_head.score(features)
        paid = self._mixed(own - self.disagreement * doubt, features)
        if members is not None:
            members = torch.stack([self._mixed(member, features) for member in members.unbind(1)], 1)
        return Verdicts(paid, own, judged, members)

    def _own(self, sequences: Sequence[TokenSequence], features: dict[str, Tensor]) -> Tensor:
        """(B,) float32 by overall verdicts alone; `features` are the sequences' and may be empty where an adapter scores."""
        if self.adapter is None:
            return self._overall(features)
        with torch.no_grad(), self._bare() as bare, self.adapter.installed(bare):
            return normalised(end_states(bare, sequences) @ self.adapter.head, self.settings)

    def _overall(self, features: dict[str, Tensor]) -> Tensor:
        if self.head is None:
            raise ValueError("an adapter's score needs a pass of its own")
        return ScaledHead(self.head, self.settings).score(features)

    def _mixed(self, own: Tensor, features: dict[str, Tensor]) -> Tensor:
        """The score PPO is given, from the overall score and what else the admin weighs."""
        parts = {key: scaled.score(features) for key, scaled in self.others.items() if key != FLAGS}
        if FLAGS in self.others:
            flags = self.others[FLAGS]  # of checkpoints without a typical cost, all flags cost 1
            parts[FLAGS] = flag_cost(flags.head, features, float(flags.settings.get("typical_cost", 1.0))).float()
        return self.mix.score(parts | {OVERALL: own})

    def _read(self, sequences: Sequence[TokenSequence]) -> dict[str, Tensor]:
        """Group -> (B, D) features of the answers, from one pass of the bare base."""
        with self._bare() as bare:
            means = answer_means(bare, sequences, self.layers)
        return read_groups(means, torch.tensor([len(item.response_ids) for item in sequences]))

    @contextlib.contextmanager
    def _bare(self) -> Iterator[Backbone]:
        """Inside, the base as rewards were learned on it, whatever the policy's KL reference is."""
        with bare_base(self.backbone):
            yield self.backbone


class Onlooker:
    """A scorer that looks on while the base's layers read answers: its scores come free with these passes."""

    def __init__(self, scorer: Scorer, packed: Packed, partial: bool = False) -> None:
        self._scorer = scorer
        self._pooler = Pooler(packed, scorer.layers, eos_ids(scorer.backbone))
        self._packed = packed
        self._partial = scorer._partial_scores(len(packed.ids), packed.width) if partial else None

    def visit(self, layer: int, states: Tensor, rows: Tensor) -> None:
        """Take `hidden_states[layer]`, (n, L, D), of the packed rows (n,) that a pass runs over."""
        self._pooler.visit(layer, states, rows)
        if self._partial is not None:
            inside, to = self._packed.answer_positions[rows, : states.shape[1]], self._packed.mask[rows]
            self._partial.visit(layer, states, rows, inside, to)

    def verdicts(self) -> Verdicts:
        """Of all rows, once every layer was seen for each."""
        features = read_groups(self._pooler.means, self._pooler.lengths)
        return self._scorer._say(self._scorer._overall(features), features)

    def partial(self) -> Tensor:
        """(B, T) what the answers were worth before each of their tokens, by the overall head (`head/partial.py`)."""
        if self._partial is None:
            raise ValueError("it was not to look at what answers are worth on the way")
        return self._partial.before_each(self._packed.mask)


class Adapter:
    """A fine-tuned reward: weights that stand in for the base's own while it scores, and a linear head."""

    def __init__(self, weights: dict[str, Tensor], head: Tensor) -> None:
        self.weights = weights  # path of a module, or of a parameter -> what takes its place
        self.head = head  # (D,)

    @contextlib.contextmanager
    def installed(self, backbone: Backbone) -> Iterator[None]:
        """Inside, the base computes with these weights; afterwards, also after an exception, with its own again, bit for bit."""
        live = {path: (parameter := _parameter(backbone, path), parameter.data) for path in self.weights}
        try:
            for path, (parameter, _) in live.items():
                parameter.data = self.weights[path]
            yield
        finally:
            for parameter, data in live.values():
                parameter.data = data


def load_scorer(reward_checkpoint: str | Path, backbone: Backbone | None = None, dtype: str | None = None) -> Scorer:
    """Open a reward checkpoint on a backbone, or on the base it names. A SimpleLM, of which a policy trains all, gets its own.

    `dtype` is that of a base opened here; by default what the reward was fitted in.

    Raises CheckpointError when the folder is not whole or no reward, BackboneError when it was learned on another base, and
    where anything else is wrong with either.
    """
    folder = Path(reward_checkpoint)
    manifest = checkpoint.verify(folder)
    if manifest.get("kind") != "reward":
        raise checkpoint.CheckpointError(
            Message("holds_another_kind", folder=str(folder), found=str(manifest.get("kind")), wanted="reward")
        )
    with explained(str(folder)):
        settings = json.loads((folder / "head.json").read_text(encoding="utf-8"))
        base = _base(folder, manifest["base"], backbone) if backbone else _own_base(folder, manifest["base"], dtype)
        heads = read_heads(folder)
        judge, members = heads.pop(JUDGE, None), read_members(folder)
        if manifest["form"] == "head":
            return Scorer(base, settings, heads[OVERALL].head, None, judge, heads, members)
        linear = load_file(folder / "head.safetensors")["head"]
        return Scorer(base, settings, None, Adapter(_merged(folder, base), linear), judge, heads, members)


def read_groups(means: Mapping[int, Tensor], lengths: Tensor) -> dict[str, Tensor]:
    """Group -> (B, D) features from the means of the layers that were read, and lengths (B,)."""
    return groups(means, lengths, with_length=0 in means)


def _base(folder: Path, base: dict[str, Any], backbone: Backbone) -> Backbone:
    """The backbone to score on: the one given, unless all its weights are trained, or may come to be."""
    if takes_adapters(backbone.plain):
        if backbone.sha256 != base["sha256"]:
            raise BackboneError(Message("reward_of_another_base", folder=str(folder), base=base["source"], model=backbone.source))
        return backbone
    return _own_base(folder, base, device=backbone.device.type)


def _own_base(folder: Path, base: dict[str, Any], dtype: str | None = None, device: str = "auto") -> Backbone:
    """The base a reward names: where it was, or, when data moved as a whole, where it is relative to the checkpoint."""
    moved = folder / base.get("relative", "")
    source = base["source"] if Path(base["source"]).exists() or "relative" not in base else str(moved.resolve())
    return load_backbone(source, dtype or base.get("dtype", "float32"), Learned(folder, base["sha256"]), device)


def _parameter(backbone: Backbone, path: str) -> torch.nn.Parameter:
    """A parameter of the plain model by its path, also where a policy's adapter has wrapped its module."""
    module_path, _, name = path.rpartition(".")
    module = backbone.plain.get_submodule(module_path)
    found: torch.nn.Parameter = getattr(getattr(module, "base_layer", module), name)
    return found


def _merged(folder: Path, backbone: Backbone) -> dict[str, Tensor]:
    """The weights of a fine-tuned reward: the base's plus the adapter's, or all of a SimpleLM's."""
    if (folder / "weights.safetensors").exists():
        return {path: weight.to(backbone.device) for path, weight in load_file(folder / "weights.safetensors").items()}
    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    pieces = load_file(folder / "adapter_model.safetensors")
    merged = {}
    for name, down in pieces.items():
        if not name.endswith(".lora_A.weight"):
            continue
        path = name.removeprefix("base_model.model.").removesuffix(".lora_A.weight") + ".weight"
        up = pieces[name.replace(".lora_A.", ".lora_B.")]
        delta = (up.float() @ down.float()) * (config["lora_alpha"] / config["r"])
        own = _parameter(backbone, path).data
        if own.dtype != torch.float32:
            setting, choice = "ppo.dtype", "ppo.dtype.auto"
            raise BackboneError(Message("reward_needs_float32", folder=str(folder), setting=setting, choice=choice))
        merged[path] = own + (delta.T if config.get("fan_in_fan_out") else delta).to(own.device)
    return merged
