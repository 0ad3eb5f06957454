"""Exit statuses of a worker that matter to whoever restarts it."""

UNUSABLE_STATUS = 2
"""A setting or what is installed cannot be used: another start ends the same way until someone changes it.

The command line exits with the same for what it cannot use. For any other reason a worker exits with 1.
"""
