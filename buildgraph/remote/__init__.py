"""Caches on other machines: stores, what is kept in them, and who is believed."""
