"""A project's guidelines: what it begins with, every version, the editor, who was told what changed.

It refuses to know tasks and verdicts.
"""
