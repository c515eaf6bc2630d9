"""Models of images: timm's, and the student families."""
