"""What each site becomes, or why it stays, and what that costs: a plan."""
