"""The work of the studio: workers, what is loaded, the lease of a GPU, and each kind of work."""
