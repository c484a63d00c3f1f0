"""What a project's prompts cover, cluster by cluster: how many, how far judged, where people differ, who wins.

It refuses to know how clusters are found, and decides nothing.
"""
