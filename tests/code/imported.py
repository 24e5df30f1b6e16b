"""A module that test_preloaded imports ahead, and then changes the time of."""
