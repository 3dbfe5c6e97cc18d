"""Log joint densities in NumPy: for a batch of draws at a few points, where compiling JAX's would take longer."""

from typing import Any

import numpy as np
from jaxtyping import Float

from bayes_gmm.core.linalg import LOG_2PI, inverse_factor
from bayes_gmm.mixture.degrees_of_freedom import log_tail


def log_joint(mixture: Any, points: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "*batch N _"]:
    r"""Log joint density of each point and label for every mixture of a batch of NumPy arrays.

    .. math:: \log \pi_k + \log N(x_n \mid \mu_k, L_k L_k^\top)

    After the components comes noise, where there is any. It is evaluated in the centred form,
    \(-\frac12 |L_k^{-1} (x_n - \mu_k)|^2\), which does not cancel.
    """
    inverse = inverse_factor(mixture.scale_tril)
    offsets = points[:, None] - mixture.means[..., None, :, :]
    whitened = (inverse[..., None, :, :, :] @ offsets[..., None])[..., 0]
    log_scale = np.log(np.diagonal(inverse, axis1=-2, axis2=-1)).sum(-1)
    constant = mixture.log_weights + log_scale - 0.5 * points.shape[1] * LOG_2PI
    squares, degrees = (whitened**2).sum(-1), mixture.degrees_of_freedom
    tail = -0.5 * squares if degrees is None else log_tail(squares, degrees[..., None, :], points.shape[1])
    joint = np.asarray(constant[..., None, :] + tail)
    if mixture.noise is None:
        return joint
    of_noise = np.broadcast_to(mixture.noise.log_joint[..., None, None], (*joint.shape[:-1], 1))
    return np.concatenate([joint, of_noise], -1)
