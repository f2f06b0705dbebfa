"""Where the pixels of a sample come from: sources, leave-out checks, the page."""
