"""How other tools want clips laid out: tables, and folders with videos. A module a format, and a registry."""
