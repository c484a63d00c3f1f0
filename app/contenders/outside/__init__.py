"""Models outside, as the owner of the installation registers them: where each is asked, and by which key.

It refuses to know projects, and holds no key.
"""
