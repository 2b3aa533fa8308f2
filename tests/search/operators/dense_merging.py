"""The merge methods once more, in numpy on whole matrices of double precision: what the real ones are held against."""

import math

import numpy as np

ZERO = 1e-5
"""Singular values up to this fraction of the largest are zero, as `cycleqd.task_vector.spectrum` has it."""


def svd(matrix):
    u, s, vh = np.linalg.svd(matrix, full_matrices=False)
    kept = s > ZERO * s[0]
    return u[:, kept], s[kept], vh[kept].T


def linear(matrices, w):
    return sum(a * m for a, m in zip(w, matrices, strict=True)) / sum(w)


def task_arithmetic(matrices, w, scale):
    return scale * sum(a * m for a, m in zip(w, matrices, strict=True))


def slerp(matrices, w, scale):
    result, total = matrices[0], w[0]
    for matrix, weight in zip(matrices[1:], w[1:], strict=True):
        total += weight
        t = weight / total
        lengths = np.linalg.norm(result) * np.linalg.norm(matrix)
        angle = math.acos(max(-1.0, min(1.0, float((result * matrix).sum() / lengths)))) if lengths > 0 else 0.0
        if math.sin(angle) < 1e-4:
            result = (1 - t) * result + t * matrix
        else:
            a, b = (math.sin(part * angle) / math.sin(angle) for part in (1 - t, t))
            result = a * result + b * matrix
    return scale * result


def tsv(matrices, w, scale):
    keep = max(1, min(matrices[0].shape) // len(matrices))
    parts = [tuple(x[..., :keep] for x in svd(matrix)) for matrix in matrices]
    u, v = (np.concatenate([part[side] for part in parts], axis=1) for side in (0, 2))
    if u.shape[1] == 0:
        return np.zeros_like(matrices[0])
    whitened = []
    for stack in (u, v):
        a, _, b = svd(stack)
        whitened.append(a @ b.T)
    sigma = np.concatenate([weight * len(w) / sum(w) * part[1] for weight, part in zip(w, parts, strict=True)])
    return scale * whitened[0] @ np.diag(sigma) @ whitened[1].T


def iso_c(matrices, w, scale, flattening):
    u, s, v = svd(task_arithmetic(matrices, w, 1.0))
    if not len(s):
        return np.zeros_like(matrices[0])
    return scale * u @ np.diag((1 - flattening) * s + flattening * s.mean()) @ v.T


def agreeing(stack, w, count):
    """TIES on a stack (K, N)."""
    kept = []
    for row in stack:
        border = np.sort(np.abs(row))[::-1][count - 1]
        kept.append(np.where(np.abs(row) >= border, row, 0.0))
    result = np.zeros(stack.shape[1])
    for place in range(stack.shape[1]):
        column = [row[place] for row in kept]
        sign = np.sign(sum(a * x for a, x in zip(w, column, strict=True)))
        agree = [(a, x) for a, x in zip(w, column, strict=True) if x != 0 and np.sign(x) == sign]
        if agree:
            result[place] = sum(a * x for a, x in agree) / sum(a for a, _ in agree)
    return result


def ties(matrices, w, density, scale):
    stack = np.stack([m.ravel() for m in matrices])
    count = max(1, math.ceil(density * stack.shape[1]))
    return scale * agreeing(stack, w, count).reshape(matrices[0].shape)


def knots_both(matrices, w, density, scale):
    u, _, _ = svd(np.concatenate(matrices, axis=1))
    _, _, v = svd(np.concatenate(matrices, axis=0))
    if u.shape[1] == 0:
        return np.zeros_like(matrices[0])
    parts = np.stack([(u.T @ m @ v).ravel() for m in matrices])
    parts[np.abs(parts) <= ZERO * np.abs(parts).max()] = 0.0
    merged = agreeing(parts, w, max(1, math.ceil(density * parts.shape[1])))
    return scale * u @ merged.reshape(u.shape[1], v.shape[1]) @ v.T


def knots_left(matrices, w, density, scale):
    u, s, v = svd(np.concatenate(matrices, axis=1))
    if not len(s):
        return np.zeros_like(matrices[0])
    parts = np.stack([part.T.ravel() for part in np.split(v, len(matrices), axis=0)])
    parts[np.abs(parts) <= ZERO * np.abs(parts).max()] = 0.0
    merged = agreeing(parts, w, max(1, math.ceil(density * parts.shape[1])))
    return scale * u @ np.diag(s) @ merged.reshape(len(s), -1)
