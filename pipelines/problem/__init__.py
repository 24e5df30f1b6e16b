"""The team's room: what is predicted, from which data, with which features and estimators."""
