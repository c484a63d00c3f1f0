"""Pure ASGI layers around the application: what is asked of every request before a route is looked for, and added to every reply.

They refuse to know who asks and what for.
"""
