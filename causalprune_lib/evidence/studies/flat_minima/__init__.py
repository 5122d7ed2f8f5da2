"""Chapter 9: flat minima."""
