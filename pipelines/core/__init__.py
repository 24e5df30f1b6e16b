"""What a problem is and what is computed of it: knows neither stages nor hosts."""
