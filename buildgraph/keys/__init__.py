"""Digests and key documents: what a node depends on, as a list that can be read, hashed and compared."""
