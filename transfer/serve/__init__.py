"""A finished run as a service over HTTP: lists for new readers, why, and a page to try it. Nothing here trains."""
