"""The built-in handler `ingest_file`: a batch made of a file."""
