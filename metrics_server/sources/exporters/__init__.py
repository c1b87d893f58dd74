"""GPU exporters: discovery, scraping, parsing, and attribution of their samples to pods."""
