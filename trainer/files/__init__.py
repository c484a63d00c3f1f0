"""What the trainer leaves on disk: checkpoints, metrics, cards, TensorBoard events.

It refuses to know how any of it was computed.
"""
