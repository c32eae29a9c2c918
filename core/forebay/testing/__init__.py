"""The conformance kit for plugin authors, installed with ``forebay[testing]``."""
