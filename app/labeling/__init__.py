"""Tasks, seats and labels: what people are asked and what they answered."""
