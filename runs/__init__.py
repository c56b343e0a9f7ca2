"""A training as the person sees it: forecast, run, log, history, and the processes it runs in."""
