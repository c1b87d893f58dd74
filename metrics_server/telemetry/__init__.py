"""The server's own metrics and its log."""
