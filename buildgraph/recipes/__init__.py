"""Recipes of melange and apko: YAML text becomes plain values with positions."""
