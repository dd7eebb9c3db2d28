"""Products of matrices of ring elements, and convolutions as such products.

Sixteen sums are kept in registers at a time, of four rows and four columns. What the columns are
made of is first laid out as a panel of four columns side by side, so that a convolution needs no
copy of all its windows. All arrays are uint64 in C order, all indices int64.
"""

import numpy as np

from privedge.mpc.compiled.compiler import helper, kernel

_ZERO = np.uint64(0)


@helper
def _tile(left, rows, left_step, right, at, right_step, inner, sums):  # type: ignore[no-untyped-def]
    """sums[4 i + j] = the sum over k of left[rows[i] + k left_step] right[at + k right_step + j]."""
    r0, r1, r2, r3 = rows
    s00 = s01 = s02 = s03 = _ZERO
    s10 = s11 = s12 = s13 = _ZERO
    s20 = s21 = s22 = s23 = _ZERO
    s30 = s31 = s32 = s33 = _ZERO
    for k in range(inner):
        y = at + k * right_step
        y0, y1, y2, y3 = right[y], right[y + 1], right[y + 2], right[y + 3]
        x = left[r0 + k * left_step]
        s00 += x * y0
        s01 += x * y1
        s02 += x * y2
        s03 += x * y3
        x = left[r1 + k * left_step]
        s10 += x * y0
        s11 += x * y1
        s12 += x * y2
        s13 += x * y3
        x = left[r2 + k * left_step]
        s20 += x * y0
        s21 += x * y1
        s22 += x * y2
        s23 += x * y3
        x = left[r3 + k * left_step]
        s30 += x * y0
        s31 += x * y1
        s32 += x * y2
        s33 += x * y3
    sums[0], sums[1], sums[2], sums[3] = s00, s01, s02, s03
    sums[4], sums[5], sums[6], sums[7] = s10, s11, s12, s13
    sums[8], sums[9], sums[10], sums[11] = s20, s21, s22, s23
    sums[12], sums[13], sums[14], sums[15] = s30, s31, s32, s33


@helper
def _strip(left, row, left_step, right, right_step, inner, sums):  # type: ignore[no-untyped-def]
    """One row of a tile: sums[j] = the sum over k of left[row + k left_step] right[k right_step + j]."""
    s0 = s1 = s2 = s3 = _ZERO
    for k in range(inner):
        y = k * right_step
        x = left[row + k * left_step]
        s0 += x * right[y]
        s1 += x * right[y + 1]
        s2 += x * right[y + 2]
        s3 += x * right[y + 3]
    sums[0], sums[1], sums[2], sums[3] = s0, s1, s2, s3


@kernel(
    "void(uint64[:,:,::1], uint64[:,::1], uint64[:,:,:,::1], "
    "int64[::1], int64[::1], int64[::1], int64, boolean)"
)
def convolve(image, weight, maps, taps, pixels, places, start, maps_last):  # type: ignore[no-untyped-def]
    """One kind of outputs of a convolution (privedge/mpc/kernels.py), of all owners and images.

    image      (B, G, framed words), G being 1 or N: each image in one piece
    weight     (N, words); this kind's part begins at `start` and has O * len(taps) words
    maps       (B, N, O, outputs), the result; only this kind's outputs are written
    taps       where each tap is in a framed image, from its output's first pixel
    pixels     the first pixel of each output, and `places` where the output goes
    maps_last  whether the part is (taps, O); else it is (O, taps)
    """
    batch, owners, out, _ = maps.shape
    inner, count = taps.size, pixels.size
    panel = np.empty(4 * inner, np.uint64)
    sums = np.empty(16, np.uint64)
    for b in range(batch):
        for n in range(owners):
            x = image[b, n if image.shape[1] > 1 else 0]
            w = weight[n, start : start + out * inner]
            into = maps[b, n]
            for p in range(0, count, 4):
                # The panel: column j has what output p + j sees. The last one is repeated.
                last = count - 1
                p0, p1 = pixels[p], pixels[min(p + 1, last)]
                p2, p3 = pixels[min(p + 2, last)], pixels[min(p + 3, last)]
                for k in range(inner):
                    tap = taps[k]
                    panel[4 * k] = x[tap + p0]
                    panel[4 * k + 1] = x[tap + p1]
                    panel[4 * k + 2] = x[tap + p2]
                    panel[4 * k + 3] = x[tap + p3]
                width = min(4, count - p)
                whole = out - out % 4
                for o in range(0, whole, 4):
                    if maps_last:
                        _tile(panel, (0, 1, 2, 3), 4, w, o, out, inner, sums)
                        for i in range(width):
                            for j in range(4):
                                into[o + j, places[p + i]] = sums[4 * i + j]
                    else:
                        r = o * inner
                        rows = (r, r + inner, r + 2 * inner, r + 3 * inner)
                        _tile(w, rows, 1, panel, 0, 4, inner, sums)
                        for i in range(4):
                            for j in range(width):
                                into[o + i, places[p + j]] = sums[4 * i + j]
                for o in range(whole, out):
                    if maps_last:
                        _strip(w, o, out, panel, 4, inner, sums)
                    else:
                        _strip(w, o * inner, 1, panel, 4, inner, sums)
                    for j in range(width):
                        into[o, places[p + j]] = sums[j]


@kernel("void(uint64[:,:,::1], uint64[:,:,::1], uint64[:,:,::1])")
def dense(x, weight, result):  # type: ignore[no-untyped-def]
    """x (G, B, D) and weight (N, O, D) -> result (N, B, O), G being 1 or N."""
    owners, batch, out = result.shape
    inner = weight.shape[2]
    panel = np.empty(4 * inner, np.uint64)
    sums = np.empty(16, np.uint64)
    whole = batch - batch % 4 if out >= 4 else 0
    for n in range(owners):
        g = n if x.shape[0] > 1 else 0
        rows = x[g].reshape(batch * inner)
        for o in range(0, out - 3 if whole else 0, 4):
            for k in range(inner):
                for j in range(4):
                    panel[4 * k + j] = weight[n, o + j, k]
            for b in range(0, whole, 4):
                r = b * inner
                at = (r, r + inner, r + 2 * inner, r + 3 * inner)
                _tile(rows, at, 1, panel, 0, 4, inner, sums)
                for i in range(4):
                    for j in range(4):
                        result[n, b + i, o + j] = sums[4 * i + j]
        for b in range(batch):
            first = out - out % 4 if b < whole else 0
            for o in range(first, out - 3, 4):
                s0 = s1 = s2 = s3 = _ZERO
                for k in range(inner):
                    value = x[g, b, k]
                    s0 += value * weight[n, o, k]
                    s1 += value * weight[n, o + 1, k]
                    s2 += value * weight[n, o + 2, k]
                    s3 += value * weight[n, o + 3, k]
                result[n, b, o] = s0
                result[n, b, o + 1] = s1
                result[n, b, o + 2] = s2
                result[n, b, o + 3] = s3
            for o in range(out - out % 4, out):
                s0 = _ZERO
                for k in range(inner):
                    s0 += x[g, b, k] * weight[n, o, k]
                result[n, b, o] = s0


@kernel("void(uint64[:,:,::1], uint64[:,:,::1], uint64[:,:,::1])")
def dense_back(x, weight, result):  # type: ignore[no-untyped-def]
    """x (G, B, O) and weight (N, O, D) -> result (N, B, D), G being 1 or N."""
    owners, batch, out = result.shape
    inner = weight.shape[1]
    sums = np.empty(16, np.uint64)
    whole = batch - batch % 4
    for n in range(owners):
        g = n if x.shape[0] > 1 else 0
        rows, flat = x[g].reshape(batch * inner), weight[n].reshape(inner * out)
        for d in range(0, out - 3 if whole else 0, 4):
            for b in range(0, whole, 4):
                r = b * inner
                at = (r, r + inner, r + 2 * inner, r + 3 * inner)
                _tile(rows, at, 1, flat, d, out, inner, sums)
                for i in range(4):
                    for j in range(4):
                        result[n, b + i, d + j] = sums[4 * i + j]
        for b in range(batch):
            # Few images: each row of the weight is read once, in order.
            first = out - out % 4 if b < whole else 0
            for d in range(first, out):
                result[n, b, d] = _ZERO
            quads = inner - inner % 4
            for o in range(0, quads, 4):
                x0, x1, x2, x3 = x[g, b, o], x[g, b, o + 1], x[g, b, o + 2], x[g, b, o + 3]
                for d in range(first, out):
                    result[n, b, d] += (
                        x0 * weight[n, o, d]
                        + x1 * weight[n, o + 1, d]
                        + x2 * weight[n, o + 2, d]
                        + x3 * weight[n, o + 3, d]
                    )
            for o in range(quads, inner):
                x0 = x[g, b, o]
                for d in range(first, out):
                    result[n, b, d] += x0 * weight[n, o, d]
