"""HTTP and nothing else: app factory, guards, JSON API, event stream, pages, one error handler."""
