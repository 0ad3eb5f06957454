"""What a worker ends with, as far as whoever starts it again has to know."""

UNUSABLE_STATUS = 2
"""A setting or what is installed cannot be used: another start ends the same way until someone changes it.

The command line ends with the same for what it cannot use. Any other reason that a worker gives ends it with 1.
"""
