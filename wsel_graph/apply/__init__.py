"""A plan applied to tensors."""
