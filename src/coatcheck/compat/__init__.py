"""The old import paths and APIs of four libraries that nobody maintains any more."""
