"""Image's dialect (Glance): version 2."""
