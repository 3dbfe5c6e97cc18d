"""What a maximum-likelihood fit maximises."""
