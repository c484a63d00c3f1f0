"""The README.md beside each checkpoint: what it is, how to open it, what it learned from, how good it is, under which licence.

A model card as the Hugging Face hub reads them: YAML front matter, then markdown. The same run gives the same card to the byte,
so no clock speaks in it; people are counted, never named. Knows run folders and manifests; no model.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from trainer.contract.english import english
from trainer.contract.folder import digest_of, read_jsonl
from trainer.contract.messages import from_json
from trainer.files.checkpoint import MANIFEST, sha256_of
from trainer.files.program import code_version

CARD = "README.md"
LABEL_FILES = ("preferences.jsonl", "ratings.jsonl", "rankings.jsonl", "rewrites.jsonl")
# GGUF files whose metadata name no model of the hub, by SHA-256; ours is the default base.
HUB_IDS = {"b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53": "HuggingFaceTB/SmolLM2-135M-Instruct"}
_CACHED = re.compile(r"/models--([^/]+?)--([^/]+)/snapshots/")  # where huggingface_hub keeps a model
TIMES = re.compile(r"(^|_)seconds$")  # differ from one run of a folder to the next

# How to open each form, `FOLDER` standing for the checkpoint's.
_LM = """```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained(FOLDER)
tokenizer = AutoTokenizer.from_pretrained(FOLDER)
```"""
_SCORER = """```python
from trainer.reward.scorer import load_scorer

score = load_scorer(FOLDER).score_texts([([{"role": "user", "content": "Hi"}], "Hello.")])
```"""
_CLASSIFIER = """```python
from transformers import AutoModelForSequenceClassification, AutoTokenizer

model = AutoModelForSequenceClassification.from_pretrained(FOLDER)
tokenizer = AutoTokenizer.from_pretrained(FOLDER)
conversation = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]
ids = tokenizer.apply_chat_template(conversation, return_tensors="pt", return_dict=True)["input_ids"]
score = model(ids).logits[:, 0] - model.config.score_offset
```"""
_ADAPTER = """A LoRA adapter over the base model, with the tokenizer beside it. With `peft` installed, transformers opens it
as it is, as long as the base model lies where `adapter_config.json` says. `python -m trainer.export.run policy FOLDER OUT` merges
the two into one model."""
_HEAD = """A linear head on pooled hidden states of the frozen base model; the docstring of `trainer/reward/scorer.py` gives the
formula in three lines. `python -m trainer.export.run classifier FOLDER OUT` distils it into an ordinary sequence classifier."""
_TUNED = """A LoRA adapter, which `peft` opens, the tokenizer, and a linear head (`head.safetensors`) on the final state of the
end token, appended to every answer. `python -m trainer.export.run classifier FOLDER OUT` makes one model of them, with the same
scores."""
_WHOLE = """A sequence classifier with one output, read at the end token after the answer. Its chat template ends a whole
conversation with that token, so that programs which apply it to prompt and answer in one go (TRL's trainers,
`pipeline("text-classification")`) read the same score. Subtract `config.score_offset`, which is the same for every answer: the
head of a classifier has no bias that could hold it."""
OPENING = {
    ("policy", "adapter"): _ADAPTER,
    ("policy", "full"): "A whole model.",
    ("policy", "simple_lm"): "A whole model of an architecture of ours: `import trainer.lm.simple_lm` first.",
    ("reward", "head"): _HEAD,
    ("reward", "lora"): _TUNED,
    ("reward", "classifier"): _WHOLE,
}
CODE = {"policy": _LM, "reward": _SCORER, "classifier": _CLASSIFIER}


def write_card(folder: Path, manifest: Mapping[str, Any], run: Path, figures: Mapping[str, Any] | None = None) -> None:
    """Write README.md into a checkpoint that is being saved. `run` is the run folder it came from, if that is one."""
    text = card(folder, manifest, run, manifest.get("figures") or {} if figures is None else figures)
    (folder / CARD).write_text(text, encoding="utf-8")


def card(folder: Path, manifest: Mapping[str, Any], run: Path, figures: Mapping[str, Any]) -> str:
    """The card's text."""
    specification = _json(run / "run.json")
    kind, form = manifest["kind"], manifest["form"]
    if _json(folder / "config.json").get("model_type") == "simple_lm":
        form = "simple_lm"
    base = manifest.get("base") or {}
    parts = [
        _front_matter(kind, form, base),
        f"# A {'reward model' if kind == 'reward' else 'policy'} by Tastemaker",
        _origin(manifest, specification),
        f"## Opening it\n\n{OPENING[kind, form]}\n\n{CODE.get(form, CODE[kind])}",
        f"## What it learned from\n\n{_data(run, specification)}",
        f"## Figures\n\n{_figures(manifest, figures)}",
        f"## Settings\n\n{_table(specification.get('config') or {})}",
        f"## Base model and licence\n\n{_base(base)}",
        f"## Made by\n\nTastemaker {code_version()}.",
    ]
    return "\n\n".join(parts) + "\n"


def _figures(manifest: Mapping[str, Any], figures: Mapping[str, Any]) -> str:
    """The model's own; of one that was taught by another, also its teacher's."""
    own = _table(dict(_shown(figures)))
    if (manifest.get("exported_from") or {}).get("how") != "Distilled":
        return own
    theirs = _table(dict(_shown(manifest.get("figures") or {})))
    return f"On answers to prompts it did not learn from:\n\n{own}\n\nOf the checkpoint it was distilled from:\n\n{theirs}"


def licence_of(source: str) -> str | None:
    """The licence of a model as its folder or GGUF file declares it; None where it declares none, or is not here."""
    path = Path(source)
    if path.suffix.lower() == ".gguf":
        return gguf_licence(path)
    declared = _json(path / MANIFEST).get("licence")
    if declared is None and (path / CARD).is_file():
        found = re.match(r"---\n(?:.*\n)*?license:[ \t]*(\S+)[ \t]*\n(?:.*\n)*?---\n", (path / CARD).read_text(encoding="utf-8"))
        declared = found[1] if found else None
    return str(declared) if declared else None


def gguf_licence(path: Path) -> str | None:
    """What a GGUF file says in `general.license`."""
    from gguf import GGUFReader

    field = GGUFReader(path).get_field("general.license") if path.is_file() else None
    return str(field.contents()) if field is not None else None


def _front_matter(kind: str, form: str, base: Mapping[str, Any]) -> str:
    adapter = form in ("adapter", "lora")
    lines = [f"library_name: {'peft' if adapter else 'transformers'}"]
    if base.get("source"):
        lines.append(f"base_model: {json.dumps(_name(base['source']))}")
        if licence := licence_of(base["source"]):
            lines.append(f"license: {licence}")
    lines.append(f"pipeline_tag: {'text-classification' if kind == 'reward' else 'text-generation'}")
    lines += ["tags:", "- tastemaker", f"- {kind}"]
    return "\n".join(["---", *lines, "---"])


def _origin(manifest: Mapping[str, Any], specification: Mapping[str, Any]) -> str:
    made = {
        "reward": "Fitted to people's judgements, to score answers as they would.",
        "ppo": "Trained with PPO against a reward model that learned from people's judgements.",
        "preference": "Trained on people's judgements themselves, without a reward model.",
        "sft": "Trained to predict the next token of texts that people wrote.",
    }
    exported = manifest.get("exported_from")
    told = made.get(specification.get("kind", ""), "")
    if exported:
        told = f"{told} {exported['how']} from the checkpoint whose manifest has the SHA-256 `{exported['sha256']}`.".strip()
    return told or "Trained by hand."


def _data(run: Path, specification: Mapping[str, Any]) -> str:
    """Counts and digest of what a run learned from. PPO learned from its prompts, and from its reward model's labels."""
    lines = [f"- {name}: {count}" for name, count in _counts(run).items()]
    if files := [name for name in LABEL_FILES if (run / name).is_file()]:
        frozen = (specification.get("inputs") or {}).get("label_digest")
        lines.append(f"- data digest: `{frozen or digest_of(run, *files)}`")
    reward = (specification.get("inputs") or {}).get("reward")
    if reward:
        place = (run / reward).parent
        behind = _data(place, _json(place / "run.json"))
        lines.append("- through its reward model:\n" + "\n".join(f"  {line}" for line in behind.splitlines()))
    return "\n".join(lines) or "Nothing is recorded."


def _counts(run: Path) -> dict[str, int]:
    """What lies in a run folder, counted; people by their pseudonyms."""
    found: dict[str, int] = {}
    people: set[str] = set()
    judged: set[str] = set()
    for name in LABEL_FILES:
        rows = list(read_jsonl(run / name))
        rewrites = [row for row in rows if row.get("source") == "rewrite"]  # beside the answer that each improves
        if len(rows) > len(rewrites):
            found[{"preferences.jsonl": "comparisons"}.get(name, name.removesuffix(".jsonl"))] = len(rows) - len(rewrites)
        if rewrites:
            found["rewrites"] = len(rewrites)
        people |= {str(row["annotator"]) for row in rows if "annotator" in row}
        asked = [row.get("messages") or [] for row in rows]  # of what a person wrote, with their answer
        judged |= {json.dumps(turns[:-1] if name == "rewrites.jsonl" else turns) for turns in asked}
    if people:
        found |= {"annotators": len(people), "prompts with labels": len(judged)}
    for name, words in (("prompts.jsonl", "prompts answered"), ("demonstrations.jsonl", "demonstrations")):
        if count := sum(1 for _row in read_jsonl(run / name)):
            found[words] = count
    if (run / "text.txt").is_file():
        found["bytes of text"] = (run / "text.txt").stat().st_size
    return found


def _shown(figures: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Figures that are numbers, words or messages; how long it took is not the model's."""
    for name, value in figures.items():
        if isinstance(value, dict) and "code" in value:
            yield name, english(from_json(value))
        readable = isinstance(value, bool | int | str) or (isinstance(value, float) and math.isfinite(value))
        if readable and not TIMES.search(name):
            yield name, f"{value:.4g}" if isinstance(value, float) else value


def _table(values: Mapping[str, Any]) -> str:
    if not values:
        return "None are recorded."
    rows = (f"| {name.replace('_', ' ')} | {str(value).replace('|', chr(92) + '|')} |" for name, value in values.items())
    return "\n".join(["| | |", "|---|---|", *rows])


def _base(base: Mapping[str, Any]) -> str:
    if not base.get("source"):
        return "None: it was trained from nothing, so its licence is for whoever trained it to choose."
    licence, converted = licence_of(base["source"]), _converted_from(base["source"])
    told = f"Its licence is {licence}; read it" if licence else "It does not say its licence here; look it up"
    file = f", converted from `{converted['file']}`" if converted else ""
    weights = (
        f"its weights have the SHA-256 `{base['sha256']}`" if base.get("sha256") else "the SHA-256 of its weights is unknown"
    )
    return f"`{_name(base['source'])}`{file}; {weights}. {told} before you pass this on."


def _name(source: str) -> str:
    """A hub id where one is known; of a path only the end, because where somebody's folders lie is nobody's business."""
    path = Path(source)
    if not (path.is_absolute() or path.exists()):
        return source
    if cached := _CACHED.search(source):
        return f"{cached[1]}/{cached[2]}"
    if known := HUB_IDS.get(str(_converted_from(source).get("sha256"))):
        return known
    return f"{path.parent.parent.name}/{path.parent.name}/{path.name}" if path.name == "checkpoint" else path.name


def _converted_from(source: str) -> dict[str, Any]:
    """The file and SHA-256 of the GGUF that a model of ours was converted from, or that it is; empty for any other."""
    path = Path(source)
    if path.suffix.lower() == ".gguf" and path.is_file():
        return {"file": path.name, "sha256": sha256_of(path)}
    return dict(_json(path / MANIFEST).get("converted_from") or {})


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
