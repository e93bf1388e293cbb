# Checking the arrays that a user gives: what fits comes out as the core takes it, the rest is BadInput.

def named_inputs(given, specs):
    """Positional inputs, or one dict by name, as a dict that has exactly the names of `specs`."""
    names = [spec.name for spec in specs]
    if len(given) == 1 and isinstance(given[0], Mapping):
        if set(given[0]) != set(names):
            raise BadInput(f"expected inputs named {', '.join(map(repr, names))}; got {', '.join(map(repr, given[0])) or 'none'}")
        return dict(given[0])
    if len(given) != len(names):
        raise BadInput(f"expected {len(names)} inputs ({', '.join(map(repr, names))}), got {len(given)}")
    return dict(zip(names, given))


def _shown(shape):
    return "(" + ", ".join("any" if size is None else str(size) for size in shape) + ("," if len(shape) == 1 else "") + ")"


def _expected(spec, shape):
    words = ", ".join(word for word in spec.axes if len(spec.axes) == len(shape) or word != "time")
    return f"input {spec.name!r} takes {spec.dtype} of shape ({words}) = {_shown(shape)}"


cdef cnp.ndarray as_array(object x, object expected):
    """x as an array of numbers."""
    if type(x).__name__ == "MaskedArray":
        raise BadInput(f"{expected}; got a masked array: give its data, and its mask as mask= (True: masked there, False: masked here)")
    if isinstance(x, (list, tuple)) and any(isinstance(item, np.ndarray) for item in x):
        raise BadInput(f"{expected}; got a {type(x).__name__} of {len(x)} arrays: stack them (numpy.stack), or pad them to one "
                       "length and give lengths=")
    if isinstance(x, (str, bytes)) or x is None:
        raise BadInput(f"{expected}; got {type(x).__name__}")
    try:
        array = np.asarray(x)
    except ValueError:
        raise BadInput(f"{expected}; got a ragged {type(x).__name__}: pad the rows to one length and give lengths=") from None
    if array.dtype.kind not in "fiub" and array.dtype.name != "bfloat16":
        raise BadInput(f"{expected}; got dtype {array.dtype}")
    return array


def _check_shape(array, shape, spec, expected):
    got = array.shape
    if len(got) != len(shape):
        hint = ""
        if len(got) == len(shape) - 1 and spec.axes[:1] == ("batch",):
            hint = "; for a batch of one use x[None]"
        elif len(got) == len(shape) + 1 and got[-1] == 1:
            hint = "; drop the last axis with x[..., 0]"
        raise BadInput(f"{expected}; got shape {got}{hint}")
    for size, want, word in zip(got, shape, [w for w in spec.axes if len(spec.axes) == len(shape) or w != "time"]):
        if want is not None and size != want:
            raise BadInput(f"{expected}; got shape {got}: {word} should be {want}, not {size}")


def checked_array(x, spec):
    """x as an array of numbers of the shape that `spec` says; the user's own where it is one."""
    shape = spec.shape
    if type(x) is np.ndarray and x.dtype.kind in "fiu" and x.ndim == len(shape):
        if all([want is None or want == size for want, size in zip(shape, x.shape)]):
            return x
    expected = _expected(spec, shape)
    array = as_array(x, expected)
    _check_shape(array, shape, spec, expected)
    return array


cdef cnp.ndarray as_plain(object array, object dtype):
    """In C order and aligned; a copy only where that is not so. ascontiguousarray leaves addresses as they are."""
    return np.require(array, dtype, ("C", "A", "E"))


cdef cnp.ndarray as_floats(cnp.ndarray array, object spec):
    """float32 with every axis after batch and time contiguous; a copy only where that is not so."""
    if cnp.PyArray_TYPE(array) == cnp.NPY_FLOAT32 and cnp.PyArray_ISBEHAVED_RO(array):
        inner = len(spec.inner)
        step, fits = 4, True
        for axis in range(array.ndim - 1, array.ndim - 1 - inner, -1):
            fits = fits and (array.shape[axis] == 1 or array.strides[axis] == step)
            step *= array.shape[axis]
        if fits and all(stride % 4 == 0 for stride in (<object>array).strides):
            return array
    return as_plain(array, np.float32)


cdef cnp.ndarray as_ids(cnp.ndarray array, int64_t limit, object spec, tuple shape):
    """C-contiguous int32 token ids, all in the table; of two ids, also truth values."""
    if array.dtype.kind == "b" and limit != 2:
        raise BadInput(f"{_expected(spec, shape)}; got dtype bool")
    if array.size == 0:
        return np.zeros((<object>array).shape, np.int32)
    if array.dtype.kind not in "iub":
        if not np.isfinite(array).all() or (np.rint(array) != array).any():
            raise BadInput(f"{_expected(spec, shape)}; got {array.dtype} values that are not whole numbers")
    low, high = array.min(), array.max()
    if low < 0 or high >= limit:
        bad = low if low < 0 else high
        where = tuple(int(i) for i in np.argwhere(np.asarray(array) == bad)[0])
        if limit == NO_LIMIT:
            raise BadInput(f"input {spec.name!r}: {int(bad)} at {where} is not a whole number from 0 to {limit - 1}")
        raise BadInput(f"input {spec.name!r}: token id {int(bad)} at {where} is outside the vocabulary 0 … {limit - 1}")
    return as_plain(array, np.int32)


cdef cnp.ndarray checked_input(object x, object spec, bint one_step, int64_t limit, bint any_steps=False):
    """An input as the core takes it; the user's own array where nothing has to be converted."""
    shape = spec.shape
    if spec.is_sequence and one_step:
        shape = (shape[0], *shape[2:])
    elif spec.is_sequence and any_steps:
        shape = (shape[0], None, *shape[2:])
    if type(x) is np.ndarray and x.dtype.kind in "fiu" and x.ndim == len(shape):
        array = x
        fits = all(want is None or want == size for want, size in zip(shape, x.shape))
    else:
        array, fits = as_array(x, _expected(spec, shape)), False
    if not fits:
        _check_shape(array, shape, spec, _expected(spec, shape))
    return as_ids(array, limit, spec, shape) if spec.dtype == "int32" else as_floats(array, spec)


def check_output(array, spec, shape, dtype):
    """The array that a caller gives for an output; BadInput unless it is a plain one of that shape and dtype."""
    if not isinstance(array, np.ndarray) or array.dtype != dtype or array.shape != shape or not array.flags.writeable:
        got = f"{array.dtype} of shape {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
        raise BadInput(f"out= for {spec.name!r} should be a writable {np.dtype(dtype).name} array of shape {shape}; got {got}")
    if not array.flags.carray or type(array).__name__ == "MaskedArray":
        raise BadInput(f"out= for {spec.name!r} should be a plain C-contiguous, aligned array")
    return array


def plain_array(x, expected):
    """numpy.asarray, but a ragged list is BadInput."""
    try:
        return np.asarray(x)
    except ValueError:
        raise BadInput(f"{expected}; got a ragged {type(x).__name__}") from None


def check_masks(lengths, mask, specs, drops):
    """Lengths and a mask go to inputs with a time axis, a dict's to those that it names.

    `drops` says by an input's name why they would be without effect there.
    """
    names = [spec.name for spec in specs if spec.is_sequence]
    for what, value in (("lengths", lengths), ("mask", mask)):
        if value is None:
            continue
        if not names:
            raise BadInput("lengths and mask need an input with a time axis; this network has none")
        for name in value if isinstance(value, Mapping) else names:
            if name not in names:
                raise BadInput(f"{what} as a dict should name inputs with a time axis ({', '.join(map(repr, names))}); "
                               f"got {name!r}")
            if name in drops:
                raise BadInput(drops[name])


cdef object of_input(object value, object spec):
    """Lengths or a mask for one input: a dict holds those of the inputs that it names."""
    return value.get(spec.name) if isinstance(value, Mapping) else value


def checked_lengths(lengths, array, spec):
    """The steps of each row of an input (batch, time, …), int64; None: all of them."""
    batch, steps = array.shape[:2]
    if lengths is None:
        return np.full(batch, steps)
    expected = f"lengths of input {spec.name!r} should be {batch} whole numbers, one a row"
    n = plain_array(lengths, expected)
    if n.shape != (batch,) or (n.dtype.kind not in "iu" and batch):
        raise BadInput(f"{expected}; got {n.dtype} of shape {n.shape}")
    if batch and (n.min() < 0 or n.max() > steps):
        row = int(np.argmax((n < 0) | (n > steps)))
        raise BadInput(f"lengths[{row}] is {int(n[row])}, but input {spec.name!r} has {steps} steps")
    return n.astype(np.int64)


cdef cnp.ndarray make_mask(object lengths, object mask, object array, object spec):
    """(batch, time) bool for one input (batch, time, …) from a row's number of steps, an explicit mask, or both."""
    batch, steps = array.shape[:2]
    result = np.ones((batch, steps), np.bool_)
    if lengths is not None:
        result = np.arange(steps) < checked_lengths(lengths, array, spec)[:, None]
    if mask is not None:
        m = plain_array(mask, f"mask of input {spec.name!r} should be bool of shape (batch, time) = ({batch}, {steps})")
        if m.shape != (batch, steps) or not (m.dtype.kind == "b" or (m.dtype.kind in "iu" and ((m == 0) | (m == 1)).all())):
            raise BadInput(f"mask of input {spec.name!r} should be bool of shape (batch, time) = ({batch}, {steps}); got {m.dtype} of shape {m.shape}")
        result = result & m.astype(np.bool_)
    return np.ascontiguousarray(result)
