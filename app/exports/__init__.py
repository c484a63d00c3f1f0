"""Labels leaving the house: streamed exports."""
