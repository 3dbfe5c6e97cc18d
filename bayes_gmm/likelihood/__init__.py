"""The likelihood of rows."""
