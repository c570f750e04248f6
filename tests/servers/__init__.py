"""Real servers for the tests: each in a folder of its own, on free ports of the loopback, gone when the tests are."""
