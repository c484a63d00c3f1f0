"""The Bayesian head on pooled hidden states: labels as rows, the strength of its priors, the fit and its posterior.

It refuses to know models and files.
"""
