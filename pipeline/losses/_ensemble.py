"""Several teachers as one: the mean of their softened probabilities (Hinton, Vinyals, Dean 2015)."""

from collections.abc import Sequence

import torch


def ensemble(logits: Sequence[torch.Tensor], temperature: float) -> torch.Tensor:
    """Logits z with softmax(z / T) = mean over the teachers of softmax(z_i / T).

    Any loss takes them in place of one teacher's; its temperature must be the same. In log space.

    Args:
        logits: one teacher's each, float [..., C], raw.
        temperature: T > 0.

    Returns:
        float32 [..., C]; one teacher's logits are returned as they are.
    """
    if len(logits) == 1:
        return logits[0]
    logs = torch.stack([torch.log_softmax(one.float() / temperature, dim=-1) for one in logits])
    return temperature * (torch.logsumexp(logs, dim=0) - torch.log(torch.tensor(float(len(logits)))))
