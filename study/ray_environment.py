"""What Ray reads from the environment, to be set before it is imported."""

from __future__ import annotations

import os
from pathlib import Path

SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_TRAIN_V2_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_WARN_THRESHOLD_S": "60",
    "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S": "1000000000",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
}


def prepare_environment(address: str | None) -> str:
    """Set what the user has not set; the address to join: `local`, or that of a cluster (argument, else RAY_ADDRESS).

    A cluster that Ray started asks for the token that its head wrote to ~/.ray/auth_token, but a client shows its token
    only where RAY_AUTH_MODE says so; one that asks for none does not mind.
    """
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    if address != "local":
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "error")  # a cluster that is not there is reported once, by us
        token_at_hand = {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys() or (
            Path.home() / ".ray" / "auth_token"
        ).exists()
        if token_at_hand:
            os.environ.setdefault("RAY_AUTH_MODE", "token")
    return address
