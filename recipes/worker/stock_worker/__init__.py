"""stock-worker: writes a report of the items that the shop should order."""
