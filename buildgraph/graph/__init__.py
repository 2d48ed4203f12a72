"""Targets to a frozen graph: who needs whom, in what order, and where a cycle is. No input or output."""
