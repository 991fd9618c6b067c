"""What attacks the studio: mutated files and injected faults. Short forms run always, long ones with -m slow."""
