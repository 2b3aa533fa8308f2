"""This machine: who owns what lies on it, and what reaches only itself."""
