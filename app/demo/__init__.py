"""The demo project a fresh installation starts with: prompts of our own.

Nothing but the start imports it.
"""
