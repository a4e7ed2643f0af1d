"""Demonstrations on real pretrained networks that ship inside packages: no account, no download at run time."""
