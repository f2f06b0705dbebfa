"""List search: the nearest codes of given inverted lists; one file a back end."""
