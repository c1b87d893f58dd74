"""One hostile peer at a time against a server, and how long others wait meanwhile."""
