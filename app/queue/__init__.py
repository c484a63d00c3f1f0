"""What is asked of whom next, and why: making tasks, claiming a seat, keeping or giving back a lease.

It refuses to know what people answer.
"""
