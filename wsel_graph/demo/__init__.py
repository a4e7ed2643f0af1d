"""Demonstrations on real pretrained networks that ship inside packages: nothing is downloaded at run time."""
