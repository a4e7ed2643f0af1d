"""Element methods and the plan builder."""
