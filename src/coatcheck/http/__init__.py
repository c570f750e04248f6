"""What is sent: the token, the Cookie header, the response's headers. Pure functions of bytes and settings."""
