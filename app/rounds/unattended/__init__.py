"""Rounds without hands, and what holds them back: a pause, and what a project may use up in a month.

It refuses to know how a round goes on; by hand one is started whatever stands here.
"""
