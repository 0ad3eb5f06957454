"""`up` and `down`: who runs the stack of a folder, how it is brought up, watched and stopped."""
