"""A module whose import ends the program: of test_preloaded."""

raise SystemExit(3)
