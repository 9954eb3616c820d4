"""Generated from protos/haulout/wire/v1 by make gen."""
