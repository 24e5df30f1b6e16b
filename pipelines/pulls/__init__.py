"""What speaks with a pull request: which it is, what it changes, who lets it through, what it is told."""
