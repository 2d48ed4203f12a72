"""Graph, keys and cache joined: for each node hit, run or wait, and why. Runs nothing itself."""
