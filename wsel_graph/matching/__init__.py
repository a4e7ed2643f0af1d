"""Pairing the components of a student with those of a teacher."""
