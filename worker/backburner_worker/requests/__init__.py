"""What a request may ask for. Used before the engine, and by no engine."""
