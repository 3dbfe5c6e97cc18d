"""What a mixture of Gaussians is."""
