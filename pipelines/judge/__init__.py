"""What a proposal is judged by, beyond its own word."""
