"""Noise and taste apart: who answers without care or against all, and who differs steadily because they like something else.

It refuses to act: it says what verdicts and checks tell, and an admin decides.
"""
