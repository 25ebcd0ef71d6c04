"""`python -m bench.load`: what a packet costs under a load of real sockets."""

from bench.load.cli import main

if __name__ == "__main__":
    main(prog_name="python -m bench.load")
