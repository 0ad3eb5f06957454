"""What people see of a command: lines, tables, progress; and where records are written."""
