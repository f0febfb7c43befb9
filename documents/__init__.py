"""The documents that client and service share: what the API sends and takes, and the paths it sends them at."""
