"""The demo: the whole loop on loopback, on one screen."""
