"""The programs of docs/howto/sdks.md, against the real packages: the group `examples`."""
