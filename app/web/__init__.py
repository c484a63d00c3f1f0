"""The web's own machinery: who may do what, who is calling, headers, pages, error replies, the JSON and form types.

It refuses to know what any room of the product does: rooms import it, it imports no room.
"""
