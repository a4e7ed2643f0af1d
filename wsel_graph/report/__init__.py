"""Plans and groups as text and tables."""
