"""Stage one: a teacher's outputs for every view, computed once into a cache; audited and repaired."""
