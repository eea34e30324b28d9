"""Planning within budgets: what each site costs, and the choice of most within them."""
