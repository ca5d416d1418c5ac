import sys

from spectral_forecast.cli import main

if __name__ == "__main__":
    sys.exit(main())
