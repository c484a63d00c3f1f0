"""Verdicts: recording one exactly once, the annotator's page and its form, every version of what was said.

It refuses to know what learns from a label.
"""
