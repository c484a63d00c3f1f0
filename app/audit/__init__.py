"""The audit trail as admins read it: who did what, and when.

It only reads; what is noted is each room's own business (`app/database/audit.py`).
"""
