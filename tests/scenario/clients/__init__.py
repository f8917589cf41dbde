"""The real clients. With this file the folder is a package to pytest: its cloud ends with it."""
