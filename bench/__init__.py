"""What we claim about speed and learning, each a script whose last line on stdout is one JSON object."""
