"""The decoders: our own for Llama-like models, those on a model's own forward, and which of these is right for which model.

It refuses to know sampling and the end of an answer.
"""
