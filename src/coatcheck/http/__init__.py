"""The HTTP side: tokens, Cookie headers, response headers. Pure functions of bytes and settings."""
