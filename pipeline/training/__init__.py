"""Stage two: models are fitted, a teacher to labels and a student to labels and a cache."""
