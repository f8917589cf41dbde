"""Where the bytes of images lie, and from where they may be fetched."""
