"""Autoscaling, rehearsed: the HorizontalPodAutoscaler's part, played against real instances."""
