"""Asking a model outside: prompts go to an OpenAI-compatible address, answers come back as those of a sample run.

It refuses to know models of ours, torch, and where the address was registered.
"""
