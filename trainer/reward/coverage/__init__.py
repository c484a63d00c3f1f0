"""What a project's prompts cover: clusters of those that the frozen base reads alike, and the words that set each apart.

It refuses to know labels and rewards, and reads nothing with a model that was not read already.
"""
