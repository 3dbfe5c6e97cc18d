"""`python -m bayes_gmm` is the command `bayes-gmm`."""

from .cli import main

raise SystemExit(main())
