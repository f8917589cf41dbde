"""Network's dialect (Neutron): version 2.0."""
