"""Connections before they are requests: bounded in size, in time and in number.

It refuses to know what is asked for, and by whom.
"""
