"""Scenes: what goes wrong with a session that is one blob, each played live on Coatcheck and on such a session."""
