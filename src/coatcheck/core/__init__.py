"""The core: everything that decides. No clock, randomness, I/O, threads, event loop or logging in here."""
