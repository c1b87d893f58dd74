"""From a question to its answer: which pods count, their value, and what replaces it."""
