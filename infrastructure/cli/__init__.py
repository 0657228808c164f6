"""The `lastword` command: a face of the package, for people, cron and monitors. Nothing below it imports it."""
