"""What the commands do once their options are known, and what they tell of it."""
