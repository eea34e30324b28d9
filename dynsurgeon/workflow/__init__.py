"""The whole job in one call: plan, cut, prove, save, export, and a receipt of it all."""
