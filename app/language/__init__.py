"""Words a person reads: the reader's language, the catalogues, numbers and times, what runs say.

It refuses to know who is reading.
"""
