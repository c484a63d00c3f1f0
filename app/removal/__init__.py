"""The end of a project: put away and brought back, or deleted with everything that is its own.

It refuses to know what a project is for: only which rows and files are of it, and in which order they may go.
"""
