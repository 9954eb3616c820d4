"""The four kinds of `haulout.dev/v1alpha1`, typed: schemas are generated from them, and what is read is checked."""
