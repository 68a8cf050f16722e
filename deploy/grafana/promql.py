"""Pieces of PromQL that panels share."""

from __future__ import annotations


def quantile(share: float, metric: str, by: str = "", where: str = "") -> str:
    """PromQL: a quantile of a histogram over the rate interval."""
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({share:g}, sum by ({labels}) (rate({metric}_bucket{where}[$__rate_interval])))"


def mean(metric: str, by: str, where: str = "") -> str:
    """PromQL: the mean of a histogram over the rate interval."""
    return (
        f"sum by ({by}) (rate({metric}_sum{where}[$__rate_interval]))"
        f" / sum by ({by}) (rate({metric}_count{where}[$__rate_interval]))"
    )
