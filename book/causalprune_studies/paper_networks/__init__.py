"""The networks of the LEGCNet paper, trained and read as its code does."""
