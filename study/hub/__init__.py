"""Data sets of the Hub: runs are pushed there, runs and tables read from there."""

from study.hub.names import FORM, HubError, HubName, is_hub, parse_name, refuse_hub

__all__ = ["FORM", "HubError", "HubName", "is_hub", "parse_name", "refuse_hub"]
