"""Host verification: facts become checks, checks become a verdict."""
