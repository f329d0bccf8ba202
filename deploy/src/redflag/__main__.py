"""`python -m redflag` is the `redflag` command."""

from redflag.main import main

if __name__ == "__main__":
    main()
