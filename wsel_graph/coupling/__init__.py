"""Propagation over the graph, coupled groups, roles, verification, explanation."""
