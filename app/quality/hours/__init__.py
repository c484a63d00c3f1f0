"""Hours: how long each person worked for a project on each day, from what they did.

It refuses to know how well they judged, and what an hour is paid.
"""
