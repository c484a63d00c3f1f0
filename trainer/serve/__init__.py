"""The warm process: models that stay open, answers written and texts scored as soon as somebody asks.

It refuses to know projects, people and tables: which models are meant, whoever asks says.
"""
