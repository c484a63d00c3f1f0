"""The disk: what a project's run folders hold, which of it anything still refers to, and folding the rest away.

It refuses to know what the files say, and touches nothing outside of the project's own run folders.
"""
