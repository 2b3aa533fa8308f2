"""Generated suites: seeded templates with gold solutions, one module a skill."""
