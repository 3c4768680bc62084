"""What images show: subjects, sprites, and the scenes that are composed of them."""
