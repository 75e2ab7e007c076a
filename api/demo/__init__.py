"""The demo: a made-up population, the extracts that holders would send of it, and the story."""
