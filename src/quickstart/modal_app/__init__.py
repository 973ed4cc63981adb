"""What the Modal apps and the commands that call them share. Importing this loads nothing."""
