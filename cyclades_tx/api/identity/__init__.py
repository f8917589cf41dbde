"""Identity's dialect (Keystone): version 3."""
