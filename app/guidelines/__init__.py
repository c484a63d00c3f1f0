"""A project's guidelines: every version, the editor, who was told what changed.

It refuses to know tasks and verdicts.
"""
