"""How vendor/nano is made: music composed and rendered here, four small networks, and their measurement."""
