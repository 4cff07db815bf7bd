"""The `where` language: one small closed language of boolean expressions over runs."""
