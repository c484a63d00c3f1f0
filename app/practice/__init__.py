"""Practice: tasks with a known, explained answer for those who are new.

It makes no labels, and nothing that learns, exports or measures reads it.
"""
