"""`python -m metrics_server` is `gpu-metrics-server`."""

from metrics_server.commands.main import main

if __name__ == "__main__":
    main()
