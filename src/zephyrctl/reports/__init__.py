"""What people see of a run: the view while it works, tables, and the HTML report."""
