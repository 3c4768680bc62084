"""The stages that learn."""
