"""What Ray reads from the environment, to be set before it is imported."""

from __future__ import annotations

import os

from study.scheduling.joining import agree, bring_home, bring_token

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
    """Set what the user has not set; the address of the cluster to join.

    That is `address`, else RAY_ADDRESS, else `local`: a Ray of our own. RAY_AUTH_MODE becomes what
    the cluster asks for.

    Raises ClusterError where no cluster answers.
    """
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    bring_home()
    if address == "local":
        bring_token()
    else:
        agree(address)
        # A cluster that is not there is reported once, by us.
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "error")
    return address
