"""The composition root: puts the server together from its parts."""
