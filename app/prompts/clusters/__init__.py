"""Clusters of prompts, as the newest map has them that a reward run drew.

It refuses to know how a map is drawn, and what people said about what is on it.
"""
