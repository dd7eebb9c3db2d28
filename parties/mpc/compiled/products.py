"""Products of matrices of ring elements, and convolutions as such products.

Where the words of both factors lie in the order of the sum, sixteen sums are kept in registers at a
time, of four rows and four columns. Where those of one factor lie across it, rows of that factor
are added up, each times a number. The windows of a convolution are laid out a few at a time, in a
panel that stays in the processor's cache.

All arrays are uint64 in C order. So are all indices: of any other index numba first looks whether
it counts from the end, and then LLVM finds no vector instructions.
"""

from typing import TypeAlias

import numpy as np

from parties.mpc.compiled.compiler import helper, kernel
from privedge.sharing.ring import Words

Index: TypeAlias = np.uint64
# Taps, pixels and places of `convolve`.
Layout: TypeAlias = tuple[Words, Words, Words]
# A panel of windows, and sums.
Scratch: TypeAlias = tuple[Words, Words]

_0, _1, _2, _3, _4 = map(np.uint64, range(5))
# How many words of windows are laid out at once, at least for 16 outputs: 128 KiB.
_PANEL = 1 << 14
# A weight of more words comes from memory each time: 16 MiB.
_CACHED = 1 << 21


@helper
def _tile(left: Words, a: Index, right: Words, b: Index, inner: Index, sums: Words) -> None:
    """sums[4 i + j] = sum over k of left[a + i inner + k] right[b + j inner + k], for i, j < 4."""
    a1, a2, a3 = a + inner, a + _2 * inner, a + _3 * inner
    b1, b2, b3 = b + inner, b + _2 * inner, b + _3 * inner
    s00 = s01 = s02 = s03 = _0
    s10 = s11 = s12 = s13 = _0
    s20 = s21 = s22 = s23 = _0
    s30 = s31 = s32 = s33 = _0
    for k in range(inner):
        y0, y1, y2, y3 = right[b + k], right[b1 + k], right[b2 + k], right[b3 + k]
        x = left[a + k]
        s00, s01, s02, s03 = s00 + x * y0, s01 + x * y1, s02 + x * y2, s03 + x * y3
        x = left[a1 + k]
        s10, s11, s12, s13 = s10 + x * y0, s11 + x * y1, s12 + x * y2, s13 + x * y3
        x = left[a2 + k]
        s20, s21, s22, s23 = s20 + x * y0, s21 + x * y1, s22 + x * y2, s23 + x * y3
        x = left[a3 + k]
        s30, s31, s32, s33 = s30 + x * y0, s31 + x * y1, s32 + x * y2, s33 + x * y3
    sums[0], sums[1], sums[2], sums[3] = s00, s01, s02, s03
    sums[4], sums[5], sums[6], sums[7] = s10, s11, s12, s13
    sums[8], sums[9], sums[10], sums[11] = s20, s21, s22, s23
    sums[12], sums[13], sums[14], sums[15] = s30, s31, s32, s33


@helper
def _strip(left: Words, a: Index, right: Words, b: Index, inner: Index, sums: Words) -> None:
    """One row of a tile: sums[j] = sum over k of left[a + k] right[b + j inner + k], for j < 4."""
    b1, b2, b3 = b + inner, b + _2 * inner, b + _3 * inner
    s0 = s1 = s2 = s3 = _0
    for k in range(inner):
        x = left[a + k]
        s0, s1 = s0 + x * right[b + k], s1 + x * right[b1 + k]
        s2, s3 = s2 + x * right[b2 + k], s3 + x * right[b3 + k]
    sums[0], sums[1], sums[2], sums[3] = s0, s1, s2, s3


@helper
def _rows(
    x: Words, a: Index, last: Index, weight: Words, inner: Index, out: Index, result: Words
) -> None:
    """result[i, d] = sum over o < inner of x[a + i inner + o] weight[o out + d]; i < 4, d < out.

    `last` is the last row i that x has. It is taken in place of those after it.
    """
    a1, a2, a3 = a + inner * min(_1, last), a + inner * min(_2, last), a + inner * min(_3, last)
    quads = inner - inner % _4
    for d in range(out):
        result[_0, d] = result[_1, d] = result[_2, d] = result[_3, d] = _0
    for o in range(_0, quads, _4):
        x00, x01, x02, x03 = x[a + o], x[a + o + _1], x[a + o + _2], x[a + o + _3]
        x10, x11, x12, x13 = x[a1 + o], x[a1 + o + _1], x[a1 + o + _2], x[a1 + o + _3]
        x20, x21, x22, x23 = x[a2 + o], x[a2 + o + _1], x[a2 + o + _2], x[a2 + o + _3]
        x30, x31, x32, x33 = x[a3 + o], x[a3 + o + _1], x[a3 + o + _2], x[a3 + o + _3]
        r0 = o * out
        r1, r2, r3 = r0 + out, r0 + _2 * out, r0 + _3 * out
        for d in range(out):
            y0, y1, y2, y3 = weight[r0 + d], weight[r1 + d], weight[r2 + d], weight[r3 + d]
            result[_0, d] += x00 * y0 + x01 * y1 + x02 * y2 + x03 * y3
            result[_1, d] += x10 * y0 + x11 * y1 + x12 * y2 + x13 * y3
            result[_2, d] += x20 * y0 + x21 * y1 + x22 * y2 + x23 * y3
            result[_3, d] += x30 * y0 + x31 * y1 + x32 * y2 + x33 * y3
    for o in range(quads, inner):
        x0, x1, x2, x3, r0 = x[a + o], x[a1 + o], x[a2 + o], x[a3 + o], o * out
        for d in range(out):
            y0 = weight[r0 + d]
            result[_0, d] += x0 * y0
            result[_1, d] += x1 * y0
            result[_2, d] += x2 * y0
            result[_3, d] += x3 * y0


@helper
def _row(x: Words, a: Index, weight: Words, inner: Index, out: Index, result: Words) -> None:
    """result[d] = sum over o < inner of x[a + o] weight[o out + d]. Reads weights in order."""
    quads = inner - inner % _4
    for d in range(out):
        result[d] = _0
    for o in range(_0, quads, _4):
        x0, x1, x2, x3 = x[a + o], x[a + o + _1], x[a + o + _2], x[a + o + _3]
        r0 = o * out
        r1, r2, r3 = r0 + out, r0 + _2 * out, r0 + _3 * out
        for d in range(out):
            result[d] += (
                x0 * weight[r0 + d]
                + x1 * weight[r1 + d]
                + x2 * weight[r2 + d]
                + x3 * weight[r3 + d]
            )
    for o in range(quads, inner):
        x0, r0 = x[a + o], o * out
        for d in range(out):
            result[d] += x0 * weight[r0 + d]


@helper
def _few_maps(x: Words, w: Words, into: Words, layout: Layout, sums: Words) -> None:
    """The maps (O, outputs) of one image x and one owner's w (O, taps), each on its own: laying out
    windows would take longer.
    """
    taps, pixels, places = layout
    inner, count, out = np.uint64(taps.size), np.uint64(pixels.size), np.uint64(into.shape[0])
    quads = inner - inner % _4
    for o in range(out):
        r = o * inner
        for p in range(count):
            sums[p] = _0
        for k in range(_0, quads, _4):
            t0, t1, t2, t3 = taps[k], taps[k + _1], taps[k + _2], taps[k + _3]
            w0, w1, w2, w3 = w[r + k], w[r + k + _1], w[r + k + _2], w[r + k + _3]
            for p in range(count):
                q = pixels[p]
                sums[p] += w0 * x[t0 + q] + w1 * x[t1 + q] + w2 * x[t2 + q] + w3 * x[t3 + q]
        for k in range(quads, inner):
            for p in range(count):
                sums[p] += w[r + k] * x[taps[k] + pixels[p]]
        for p in range(count):
            into[o, places[p]] = sums[p]


@helper
def _maps_first(x: Words, w: Words, into: Words, layout: Layout, scratch: Scratch) -> None:
    """The maps of one image x and one owner's w (O, taps), by runs of outputs."""
    (taps, pixels, places), (panel, sums) = layout, scratch
    inner, count, out = np.uint64(taps.size), np.uint64(pixels.size), np.uint64(into.shape[0])
    step = np.uint64(sums.shape[1])
    for p in range(_0, count, step):
        width = min(step, count - p)
        # Row k of the panel is what tap k meets.
        for k in range(inner):
            tap, row = taps[k], k * width
            for j in range(width):
                panel[row + j] = x[tap + pixels[p + j]]
        for o in range(_0, out, _4):
            height = min(_4, out - o)
            _rows(w, o * inner, height - _1, panel, inner, width, sums)
            for i in range(height):
                for j in range(width):
                    into[o + i, places[p + j]] = sums[i, j]


@helper
def _maps_last(x: Words, w: Words, into: Words, layout: Layout, scratch: Scratch) -> None:
    """The maps of one image x and one owner's w (taps, O), by fours of outputs."""
    (taps, pixels, places), (panel, sums) = layout, scratch
    inner, count, out = np.uint64(taps.size), np.uint64(pixels.size), np.uint64(into.shape[0])
    for p in range(_0, count, _4):
        width = min(_4, count - p)
        # Row j of the panel is what output p + j sees.
        for j in range(width):
            first, row = pixels[p + j], j * inner
            for k in range(inner):
                panel[row + k] = x[first + taps[k]]
        if width == _1:
            _row(panel, _0, w, inner, out, sums[_0])
        else:
            _rows(panel, _0, width - _1, w, inner, out, sums)
        for j in range(width):
            for o in range(out):
                into[o, places[p + j]] = sums[j, o]


@kernel(
    "void(uint64[:,:,::1], uint64[:,::1], uint64[:,:,:,::1], "
    "uint64[::1], uint64[::1], uint64[::1], uint64, boolean, int64, int64)"
)
def convolve(
    image: Words,
    weight: Words,
    maps: Words,
    taps: Words,
    pixels: Words,
    places: Words,
    start: Index,
    maps_last: bool,
    first: int,
    stop: int,
) -> None:
    """One kind of outputs of a convolution (parties/mpc/convolution.py), of the owners `first` to
    `stop` - 1 and all images.

    image      (B, G, framed words), G being 1 or N: each image in one piece
    weight     (N, words); this kind's part begins at `start` and has O * len(taps) words
    maps       (B, N, O, outputs), the result; only this kind's outputs are written
    taps       where each tap is in a framed image, from its output's first pixel
    pixels     the first pixel of each output, and `places` where the output goes
    maps_last  whether the part is (taps, O); else it is (O, taps)
    """
    batch, _, out, _ = maps.shape
    # The panel stays in the second cache, if 16 outputs of it fit there.
    step = min(pixels.size, max(16, _PANEL // taps.size))
    panel = np.empty(taps.size * max(4, step), np.uint64)
    sums = np.empty((4, out if maps_last else step), np.uint64)
    few = np.empty(pixels.size, np.uint64)
    layout, end = (taps, pixels, places), start + np.uint64(out * taps.size)
    for n in range(first, stop):
        w = weight[n, start:end]
        for b in range(batch):
            x, into = image[b, n if image.shape[1] > 1 else 0], maps[b, n]
            if maps_last:
                _maps_last(x, w, into, layout, (panel, sums))
            elif out < 3:
                _few_maps(x, w, into, layout, few)
            else:
                _maps_first(x, w, into, layout, (panel, sums))


@helper
def _inner_products(
    rows: Words, a: Index, w: Words, inner: Index, into: Words, first: Index
) -> None:
    """into[o] = sum over k of rows[a + k] w[o inner + k], for o >= first: one row after another, as
    memory is read fastest.
    """
    for o in range(first, np.uint64(into.size)):
        r, s = o * inner, _0
        for k in range(inner):
            s += rows[a + k] * w[r + k]
        into[o] = s


@helper
def _dense_one(rows: Words, w: Words, into: Words, inner: Index, sums: Words, far: bool) -> None:
    """rows (B * inner) and w (O * inner) -> into (B, O). `far`: w comes from memory, uncached."""
    batch, out = np.uint64(into.shape[0]), np.uint64(into.shape[1])
    whole, columns = batch - batch % _4, out - out % _4
    for o in range(_0, columns, _4):
        for b in range(_0, whole, _4):
            _tile(rows, b * inner, w, o * inner, inner, sums)
            for i in range(_4):
                for j in range(_4):
                    into[b + i, o + j] = sums[_4 * i + j]
        for b in range(batch if far else whole, batch):
            _strip(rows, b * inner, w, o * inner, inner, sums)
            for j in range(_4):
                into[b, o + j] = sums[j]
    for b in range(batch):
        first = _0 if far and b >= whole else columns
        _inner_products(rows, b * inner, w, inner, into[b], first)


@kernel("void(uint64[:,:,::1], uint64[:,:,::1], uint64[:,:,::1])")
def dense(x: Words, weight: Words, result: Words) -> None:
    """x (G, B, D) and weight (N, O, D) -> result (N, B, O), G being 1 or N."""
    inner, sums = np.uint64(weight.shape[2]), np.empty(16, np.uint64)
    far = weight.size > _CACHED
    for n in range(result.shape[0]):
        own, w = x[n if x.shape[0] > 1 else 0], weight[n]
        _dense_one(own.reshape(own.size), w.reshape(w.size), result[n], inner, sums, far)


@kernel("void(uint64[:,:,::1], uint64[:,:,::1], uint64[:,:,::1])")
def dense_back(x: Words, weight: Words, result: Words) -> None:
    """x (G, B, O) and weight (N, O, D) -> result (N, B, D), G being 1 or N."""
    batch, inner = np.uint64(x.shape[1]), np.uint64(weight.shape[1])
    out, whole = np.uint64(weight.shape[2]), batch - batch % _4
    for n in range(result.shape[0]):
        own, w, into = x[n if x.shape[0] > 1 else 0], weight[n], result[n]
        rows, flat = own.reshape(own.size), w.reshape(w.size)
        for b in range(_0, whole, _4):
            _rows(rows, b * inner, _3, flat, inner, out, into[b : b + _4])
        for b in range(whole, batch):
            _row(rows, b * inner, flat, inner, out, into[b])
