"""Real third-party models, small and with random weights, on which the library is held against an oracle."""
