"""Assignment: which prompts are for whom, by the languages and skills of people.

It refuses to know queues and imports: those ask it.
"""
