"""People: sign-in, invitations, members, API keys."""
