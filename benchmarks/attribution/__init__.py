"""What attribution claims, held against known truth."""
