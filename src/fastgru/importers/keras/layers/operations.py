"""Operations such as ``x + y`` in functional networks."""
