"""Labels leaving the house: streamed exports.

It only reads.
"""
