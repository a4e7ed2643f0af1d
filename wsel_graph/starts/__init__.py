"""Better starts: what can be done with values once they are selected, without any training."""
