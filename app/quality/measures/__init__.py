"""What verdicts say about those who gave them, as pure mathematics over NumPy's arrays.

It refuses to know tables, people and pages. Each figure comes with its n and interval. Nothing at the web's start imports it.
"""
