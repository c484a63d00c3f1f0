"""Adjudication: what people differ on, laid before a reviewer blind to names, who settles it or sends a verdict back.

It refuses to know what learns from it, and when a task comes here: labels see to that as they are stored.
"""
