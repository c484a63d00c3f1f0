"""What tells whether the installation works and is left alone: its health, and what browsers report.

It refuses to know who asks.
"""
