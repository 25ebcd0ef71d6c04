"""`python -m gateway` is `acs-ingest`: how a parent process starts its children."""

from gateway.cli import main

if __name__ == "__main__":
    main(prog_name="acs-ingest")
