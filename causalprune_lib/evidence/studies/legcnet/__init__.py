"""Chapter 5: LEGCNet, its placebos, its settings, and MNIST."""
