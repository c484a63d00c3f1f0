"""Projects: guidelines, criteria, settings, the demo project, the overview."""
