"""The web process: pages, the JSON API and the database. It never imports torch."""
