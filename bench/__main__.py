"""`python -m bench`: every benchmark."""

import sys

from bench.hot_path import main

sys.exit(main())
