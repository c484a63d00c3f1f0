"""Asking at addresses of others, rewards and models alike: which may be asked, how a request goes there, what a chat says.

Standard library only. It refuses to know who asks, and what becomes of an answer.
"""
