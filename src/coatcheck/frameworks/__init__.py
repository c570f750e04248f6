"""The frameworks, one module each. Import the one you use; each says what to install if it is missing."""
