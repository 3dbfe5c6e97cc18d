"""`python -m bayes_gmm` is the command `bayes-gmm`."""

from bayes_gmm.cli import main

raise SystemExit(main())
