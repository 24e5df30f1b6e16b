"""The files that cross from one room to another: for each a closed model, with read and write."""
