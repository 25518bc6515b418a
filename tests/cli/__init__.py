"""The command line, and the logins by name behind it."""
