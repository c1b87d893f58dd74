"""The demo: the whole autoscaling loop on loopback, on one screen."""
