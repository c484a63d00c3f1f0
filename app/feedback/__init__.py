"""What comes back from use: thumbs and corrections of those who talk to the model, kept apart until an admin lets them in.

It refuses to know how a model answers, and what learns from a label.
"""
