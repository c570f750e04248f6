"""The import paths and APIs of four session libraries that are no longer maintained."""
