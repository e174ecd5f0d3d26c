"""Data sets of the Hub: runs are pushed there, runs and tables read from there."""
