"""Results on disk: accounts, output folders, tables and figures."""
