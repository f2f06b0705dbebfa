"""Studies of machines and networks: verification, calibration, comparison."""
