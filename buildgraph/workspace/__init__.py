"""What lies in the workspace: the manifest, labels, the tree of files, recipes found by content, their source files."""
