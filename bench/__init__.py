"""How fast the service is, as ratios inside one run; docs/bench.md tells how to read it."""
