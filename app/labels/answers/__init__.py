"""What a verdict says of single answers, beside which is the better: the rubric's questions, and passages marked with a reason.

It refuses to know a request and the database: it is given the project's words and the answers' texts.
"""
