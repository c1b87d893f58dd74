"""One hostile peer at a time against a server, and how long other callers wait meanwhile."""
