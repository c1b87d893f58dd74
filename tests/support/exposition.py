"""The family whose rows the tests read."""

FAMILY = "DCGM_FI_DEV_GPU_UTIL"
