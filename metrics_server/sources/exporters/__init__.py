"""GPU exporters: found, scraped, parsed, and their samples attributed to pods."""
