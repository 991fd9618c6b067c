"""The command line: the same studio without a page."""
