"""Talks with the policy: an annotator writes, judges two continuations blind, and goes on with the better one.

It refuses to know how a verdict is stored and what learns from it: a turn is a comparison like any other.
"""
