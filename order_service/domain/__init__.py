"""Orders, money and events as values, with the rules that hold for them whatever carries or stores them.

Guarantees: nothing here performs I/O, reads a clock or makes an id; times and ids are parameters. An amount is exact
from the moment it enters. Fails only by raising the errors of `domain.errors`.
"""
