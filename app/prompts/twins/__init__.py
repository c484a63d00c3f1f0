"""Near-twins: prompts of a project that say nearly the same as an earlier one.

It refuses to know how prompts come in, and puts none away.
"""
