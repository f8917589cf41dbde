"""How fast the service is, as ratios inside one run; ``make bench``, and docs/bench.md to read it."""
