"""Texts of models and people made safe and honest to read: as written or as Markdown, coloured code, differences.

Pure functions: no tables, no requests.
"""
