"""Compute's dialect (Nova): version 2.1 with its microversions."""
