"""Answers whose reward is known, and people who judge by it."""
