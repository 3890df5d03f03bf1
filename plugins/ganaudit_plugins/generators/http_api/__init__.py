"""Generators behind an API, asked over HTTP: `oip:URL`, `image_api:URL` and `predictions:URL`."""
