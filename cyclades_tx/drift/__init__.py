"""What differs between the records and a cluster: looks at both, changes nothing."""
