"""A small shop that shows what sessions do: ``coatcheck demo``. It needs the extra ``demo``."""
