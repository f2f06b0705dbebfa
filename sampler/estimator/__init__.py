"""The posterior from an index: a retrieved head, a sampled tail, and how far they can be off."""
