"""How the house is looked at for `tests/walls.py`: each function finds breaches of one wall under a root, and tests nothing.

It refuses to know pytest.
"""
