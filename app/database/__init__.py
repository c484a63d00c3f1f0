"""The database itself: the engine and its pragmas, one request one transaction, grouped writes,
upgrades, backups, the audit trail.

It refuses to know what the tables mean.
"""
