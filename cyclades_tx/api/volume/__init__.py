"""Volume's dialect (Cinder): version 3 with its microversions."""
