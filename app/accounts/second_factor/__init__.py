"""The second factor: codes of an authenticator app, recovery codes, and whether admins need it.

It refuses to know passwords.
"""
