"""The fitted laws of several arms: which part of a bend is whose."""
