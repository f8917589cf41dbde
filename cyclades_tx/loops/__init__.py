"""The loops that make wishes true at Ganeti; nobody else changes anything there."""
