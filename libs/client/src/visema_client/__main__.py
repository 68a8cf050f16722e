"""`python -m visema_client` is `visema`."""

from visema_client.cli import main

if __name__ == "__main__":
    main()
