"""Signing in: passwords, the throttle before them, and the session that is opened.

It refuses to know what people may do.
"""
