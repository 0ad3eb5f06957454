"""What every part of Backburner must agree on, byte for byte. Pure: pydantic and the standard library, no I/O."""
