"""One cluster each: the RAPI client, its limits, and the doubles."""
