"""One family of rules a file, each with one literal table, one to one with the catalogue."""
