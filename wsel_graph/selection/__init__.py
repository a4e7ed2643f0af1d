"""Selection rules: what the user wants, in YAML."""
