"""The mapping files that ship, and that `syncer init` copies; being a package lets the installed program find them."""
