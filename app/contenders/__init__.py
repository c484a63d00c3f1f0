"""Contenders: what answers prompts and is compared, and how it is called.

It refuses to know what people judged.
"""
