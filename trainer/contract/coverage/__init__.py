"""What a project's prompts cover, as a reward run leaves it for those who show it.

Standard library only: it refuses to know tables and tensors.
"""
