"""One self-contained HTML page that shows where every pixel of a run comes from."""
