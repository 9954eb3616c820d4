"""A fake world for the real actors: virtual time, and a fake of every port."""
