"""Where the records lie: one module each."""
