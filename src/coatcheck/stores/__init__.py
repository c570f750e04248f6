"""The stores, one module each. Import the one you use; none imports another."""
