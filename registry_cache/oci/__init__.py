"""The vocabulary of the OCI specs: values that cannot be wrong once they exist. Pure: no disk, no network, no clock."""
