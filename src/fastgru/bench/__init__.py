"""One GRU layer on fastgru and on other runtimes: same weights, same inputs, outputs compared before anything is timed.

`cases` says what is run, `peers` how each runtime runs it, `worker` is the process that one runtime lives in, and
`compare` lets them take turns. Behind ``fastgru bench --against`` and ``tools/bench/layers.py``.
"""
