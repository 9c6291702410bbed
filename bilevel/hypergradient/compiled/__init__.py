"""Compiled kernels: packages of machine code that take a problem's steps; nothing else knows how.

`expressions`, `rules` and `scalars` write small graphs out entry by entry; `functions` makes flat functions
of a problem; `program` traces, `packages` builds and loads, `verify` compares, `cache` and `fingerprint`
remember; `kernels` puts them behind the contract of `bilevel.hypergradient.kernels`.
"""
