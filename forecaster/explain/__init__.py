"""What lies behind a forecast, and what it would be if things stood otherwise."""
