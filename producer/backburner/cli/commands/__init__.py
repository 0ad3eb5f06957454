"""The commands, a file each, or a file for a group of them."""
