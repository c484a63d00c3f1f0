"""What is announced of projects: decisions, alarms and stops, on the overview and to addresses that the owner registered.

It refuses to know why something was decided: whoever decides announces it, in the transaction that does.
"""
