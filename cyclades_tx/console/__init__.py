"""VNC: the handshake on both sides, and the bytes between a viewer and a screen."""
