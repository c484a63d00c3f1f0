"""What people see of the whole: a project's overview and a person's own work.

It only reads.
"""
