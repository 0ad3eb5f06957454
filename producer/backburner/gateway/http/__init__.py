"""HTTP as such: what every call passes through, whatever it asks for."""
