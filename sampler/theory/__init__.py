"""Score machines beside trained networks: calibration of the scales, and the comparison."""
