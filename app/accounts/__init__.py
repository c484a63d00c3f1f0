"""People: sign-in, invitations, members, API keys.

It refuses to know what people judge.
"""
