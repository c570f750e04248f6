"""What a session costs a request, beside the alternatives, in one run. `make bench` runs all of it."""
