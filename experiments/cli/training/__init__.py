"""``lrbend train``: its flags, what a preset implies, what is shown."""
