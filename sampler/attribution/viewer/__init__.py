"""The page of `sampler explain`."""
