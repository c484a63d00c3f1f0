"""Contenders: what answers prompts and is compared, how it is called, and what others wrote brought in.

It refuses to know what people judged.
"""
