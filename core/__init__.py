"""What crosses rooms: knobs, requests, recipes, plans, events, errors and paths. No framework, no network."""
