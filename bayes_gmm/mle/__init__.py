"""Maximum likelihood: EM and its restarts, gradient ascent, streams of data, standard errors.

Read `fit_em` first, then `best_fit` (the best of many runs), `multistart` (which of them go on) and `em_run` (the loop
of one run) with `anderson_acceleration`, `degrees_of_freedom` (those of t distributions, held in EM and searched for
around it), and `em_result` (`EMFit`) with `standard_errors` and `doubts`. `fit_gradient` uses `gradient_ascent`;
`fit_stream` learns batch by batch with `stream_steps` and returns a `stream_result`. `status` says
how each of them ended and what to do about it.

May import: the rooms up to `search`.
Add here: another way to climb the same `Objective` (a public verb in a file of its name).
"""
