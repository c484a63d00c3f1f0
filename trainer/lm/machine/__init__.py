"""The machine that a model computes on: its device, how weights are laid out for it, and what finds room in its memory.

It refuses to know answers and losses; of runs it knows what they ask for.
"""
