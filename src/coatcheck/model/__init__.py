"""The model: what is stored. A record, its bytes, what a change makes of it, and what a store must do."""
