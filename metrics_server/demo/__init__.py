"""The whole loop on loopback, with everything around the server simulated."""
