"""The configuration file and the flags of `serve`."""
