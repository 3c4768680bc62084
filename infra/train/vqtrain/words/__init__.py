"""What people type for a scene: names, synonyms, captions, and their tokens."""
