"""Events and results to text for people and JSON for machines. Decides nothing."""
