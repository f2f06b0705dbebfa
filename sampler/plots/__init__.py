"""Pictures of runs and verifications, and how all plots look."""
