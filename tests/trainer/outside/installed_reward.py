"""A package that offers rewards, installed into a folder of `sys.path`: a module, and the dist-info that names its callables."""

from __future__ import annotations

from pathlib import Path

MODULE = '''
import numpy as np

def even(prompts, answers):
    """The share of even numbers among the words of an answer such as "<3> <4>"."""
    assert all(set(message) == {"role", "content"} for prompt in prompts for message in prompt)
    words = [answer.replace("<", "").replace(">", "").split() for answer in answers]
    return [np.float32(sum(int(word) % 2 == 0 for word in each) / max(len(each), 1)) for each in words]

def short(prompts, answers):
    return [-len(answer) for answer in answers]

def long(prompts, answers):
    prompts.clear()
    return [len(answer) for answer in answers]

def same(prompts, answers):
    return [7] * len(answers)

def broken(prompts, answers):
    raise KeyError("nothing here")

def few(prompts, answers):
    return [1.0]

number = 7
'''
NAMES = ("even", "short", "long", "same", "broken", "few", "number")


def install(folder: Path, module: str = "rewards_of_somebody") -> Path:
    """A folder to put on `sys.path`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{module}.py").write_text(MODULE, encoding="utf-8")
    info = folder / f"{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n", encoding="utf-8")
    lines = [f"{name} = {module}:{name}" for name in NAMES]
    lines += [f"gone = {module}:gone", f"Not a name = {module}:even"]
    (info / "entry_points.txt").write_text("[tastemaker.rewards]\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return folder
