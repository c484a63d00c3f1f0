"""Prompts and their import."""
