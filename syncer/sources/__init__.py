"""The sources, one module each; `syncer.source` has their contract."""
