"""Module to graph: run a model once and record a `torch.fx` graph of ATen operators."""
