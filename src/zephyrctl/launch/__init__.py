"""Starting the processes of a stage, and staying in charge of them until they end."""
