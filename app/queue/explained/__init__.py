"""The queue explained to an admin: what is asked next and why, and what was asked.

It refuses to decide anything: it only reads.
"""
