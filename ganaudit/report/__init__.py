"""One canonical JSON document; everything a person sees is rendered from it."""
