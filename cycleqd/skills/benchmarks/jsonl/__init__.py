"""A skill from a user's own file of problems."""
