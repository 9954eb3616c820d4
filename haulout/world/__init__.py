"""The real ports: this machine's clock, chance, threads, files and SQLite. Built in composition roots, passed in."""
