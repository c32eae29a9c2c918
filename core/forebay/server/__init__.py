"""The HTTP server: waitress, one process or several, and the gateway inside a program."""
