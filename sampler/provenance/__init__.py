"""Where one pixel of any image comes from."""
